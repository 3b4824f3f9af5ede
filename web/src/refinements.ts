// The options of `go tool pprof` that select samples and frames of a merge.

import type { TagValue } from "./api";
import { escapeRegex } from "./names";

export const REFINEMENTS = {
  focus: "only samples with a frame that matches",
  ignore: "only samples without a frame that matches",
  hide: "without the frames that match",
  show: "only the frames that match",
  show_from: "without the callers of the outermost frame that matches",
  tagfocus: "only samples with tags that match",
  tagignore: "only samples without tags that match",
  tagroot: "the values of these tags are the outermost frames",
  tagleaf: "the values of these tags are the innermost frames",
} as const;

export type RefinementName = keyof typeof REFINEMENTS;
export type Refinements = Partial<Record<RefinementName, string>>;

export const REFINEMENT_NAMES = Object.keys(REFINEMENTS) as RefinementName[];

function keep(refinements: Refinements, test: (name: string, text: string) => boolean): Refinements {
  return Object.fromEntries(Object.entries(refinements).filter(([name, text]) => test(name, text)));
}

// Returns those that do not look at tags.
export function withoutTags(refinements: Refinements): Refinements {
  return keep(refinements, (name) => !name.startsWith("tag"));
}

// Returns the refinements with one of them changed; an empty text removes it.
export function refine(refinements: Refinements, name: RefinementName, text: string): Refinements {
  return keep({ ...refinements, [name]: text }, (_, value) => value !== "");
}

// Adds a function: several functions can be ignored or hidden, and the focus is on the last one.
export function refineByFunction(
  refinements: Refinements,
  name: "focus" | "ignore" | "hide" | "show_from",
  functionName: string,
): Refinements {
  const pattern = `^${escapeRegex(functionName)}$`;
  const before = name === "ignore" || name === "hide" ? refinements[name] : undefined;
  return refine(refinements, name, before ? `${before}|${pattern}` : pattern);
}

// Selects the samples whose tag has this value. The search ends at commas, which an expression therefore escapes.
export function refineByTag(
  refinements: Refinements,
  name: "tagfocus" | "tagignore",
  key: string,
  { value, number }: Pick<TagValue, "value" | "number">,
): Refinements {
  const pattern = number === undefined ? `^${escapeRegex(value).replaceAll("\\,", "\\x2c")}$` : value;
  return refine(refinements, name, `${key}=${pattern}`);
}
