// The parts of the collector's HTTP API that the page uses.

import { apiKey } from "./apiKey";
import { formatMatchers, percentEncode } from "./labels";
import { escapeRegex } from "./names";
import { withoutTags } from "./refinements";
import type { State, TimeRange } from "./state";

export interface SampleType {
  type: string;
  unit: string;
}

export interface ServiceSummary {
  service: string;
  types: string[];
  last_seen: string; // rounded up by less than a day; empty if unknown
}

export interface ServiceDetails {
  types: string[]; // profile types
  labels: { key: string; values: string[] }[];
  complete: boolean; // false if there are too many labels to list
}

// Totals over time: for each step the number of profiles and, by sample type, a value.
export interface Series {
  start: string;
  step: number; // seconds
  sample_types: SampleType[]; // empty if the profile type has no totals
  aggregates: string[]; // what the values of each sample type are: "sum", "average", "increase" …
  groups: {
    labels: { key: string; value: string }[];
    profiles: number[];
    values: number[][];
    others?: number; // the number of small groups that this one sums up
  }[];
}

// A call tree as columns. Parents come before their children.
export interface Nodes {
  parent: number[];
  function: number[]; // an index of Functions, or tree.ROOT or tree.OTHER
  values: number[][]; // by side: the comparison, then the base if there is one
}

export interface Functions {
  name: string[];
  file: string[];
  line: number[];
  flat: number[][]; // by side, as Nodes.values
  cum: number[][];
  count: number; // of all functions in the merge; the server sends the largest
}

// The direct callers or callees of a function, the largest first.
export interface Calls {
  function: number[]; // an index of Functions
  values: number[][]; // by side, as Nodes.values
}

export interface FlameGraphData {
  sample_type: SampleType;
  sample_types: SampleType[];
  totals: number[]; // by side
  functions: Functions;
  nodes: Nodes;
  callers?: Nodes; // if a function is in focus; *nodes* are its callees then
  peek?: { callers: Calls; callees: Calls }; // of the function in focus
  // By side. The values in words are "sum of 6 profiles", "average of 52 profiles" and the like.
  profiles: { found: number; merged: number; expired: number; aggregate: string }[];
}

export interface TagValue {
  value: string;
  number?: number; // if it is one; the value then has its unit
  total: number;
}

// The labels of samples, as goroutine labels, with their totals.
export interface Tags {
  sample_type: SampleType;
  total: number; // of all samples, with and without tags
  tags: { key: string; total: number; values: TagValue[]; others: number }[];
}

// The files that a merge can be, with their names and the ends of file names.
export const EXPORT_FORMATS = {
  pprof: { label: "Download pprof", suffix: ".pb.gz" },
  collapsed: { label: "Collapsed stacks", suffix: ".collapsed.txt" },
  speedscope: { label: "speedscope file", suffix: ".speedscope.json" },
  html: { label: "Flame graph, offline page", suffix: ".html" },
} as const;
export type ExportFormat = keyof typeof EXPORT_FORMATS;

// An error answer, or status 0 if there was no answer. *code* is the collector's `error_code`.
export class ApiError extends Error {
  constructor(
    readonly status: number,
    message: string,
    readonly code = "",
  ) {
    super(message);
  }

  // True if a merge exceeds a limit of the collector, so that merging fewer profiles helps.
  get mergeIsTooLarge(): boolean {
    return /^max_merge(_\w+)?_exceeded$/.test(this.code);
  }
}

const MAX_NODES = 20000; // of a flame graph; the server folds smaller ones

type Parameters = Record<string, string | undefined>;

// Returns the URL of a path below the page's own directory.
export function pageUrl(path: string): URL {
  return new URL(path, document.baseURI.replace(/[?#].*/s, ""));
}

// Returns the URL of an API call. Undefined parameters are left out.
export function apiUrl(path: string, parameters: Parameters): string {
  const query = Object.entries(parameters)
    .filter((pair): pair is [string, string] => pair[1] !== undefined)
    .map(([name, value]) => `${name}=${percentEncode(value)}`)
    .join("&");
  return pageUrl(`${path}?${query}`).href;
}

// Returns the parameters that select the merged profiles: of the base or, by default, the comparison.
export function selectionParameters(state: State, base = false): Parameters {
  const { from, to } = (base ? state.baseSelection : state.selection) ?? state.range;
  const labels = base ? state.baseLabels : state.labels;
  return {
    service: state.service,
    type: state.profileType,
    from,
    to: to === "now" ? undefined : to,
    labels: labels.length ? formatMatchers(labels) : undefined,
    ...state.refinements,
    aggregate: state.aggregate,
  };
}

export function mergeUrl(state: State, base = false): string {
  return apiUrl("api/0/profiles/merge", selectionParameters(state, base));
}

export function fetchServices(signal?: AbortSignal): Promise<ServiceSummary[]> {
  return fetchBody("api/0/services", { details: "1" }, signal);
}

// Fetches the timelines of the CPU profiles of several services, as groups, in steps of that many seconds.
export async function fetchCpuOfServices(
  services: readonly string[],
  { from, to }: TimeRange,
  step: number | null,
  signal?: AbortSignal,
): Promise<Series> {
  const service = `~${services.map(escapeRegex).join("|")}`;
  const parameters = {
    service,
    type: "cpu",
    from,
    to: to === "now" ? undefined : to,
    group_by: "service",
    step: step === null ? undefined : String(step),
  };
  try {
    return await fetchBody("api/0/series", parameters, signal);
  } catch (error) {
    if (!(error instanceof ApiError) || error.status !== 404) throw error;
    return { start: "", step: 1, sample_types: [], aggregates: [], groups: [] };
  }
}

export function fetchServiceDetails(service: string, signal?: AbortSignal): Promise<ServiceDetails> {
  return fetchBody("api/0/labels", { service }, signal);
}

// Fetches the timeline. In a diff it shows both sides, and labels are not applied.
export function fetchSeries(state: State, signal?: AbortSignal): Promise<Series> {
  const { service, profileType, range, labels, diff, groupBy, aggregate } = state;
  return fetchBody(
    "api/0/series",
    {
      service,
      type: profileType,
      from: range.from,
      to: range.to === "now" ? undefined : range.to,
      labels: labels.length && !diff ? formatMatchers(labels) : undefined,
      group_by: groupBy || undefined,
      aggregate,
    },
    signal,
  );
}

// Fetches a flame graph of the selected profiles, or of at most *limit* of them.
export function fetchFlameGraph(
  state: State,
  limit: number | null,
  signal?: AbortSignal,
): Promise<FlameGraphData> {
  const { from, to, labels } = selectionParameters(state, true);
  return fetchBody(
    "api/0/profiles/flame",
    {
      ...selectionParameters(state),
      sample_type: state.sampleType || undefined,
      function: state.focus || undefined,
      max_nodes: String(MAX_NODES),
      limit: limit === null ? undefined : String(limit),
      ...(state.diff ? { base_from: from, base_to: to ?? "now", base_labels: labels ?? "" } : {}),
    },
    signal,
  );
}

// Fetches the tags of the selected profiles. Refinements by tag do not apply: they would hide the other tags.
export function fetchTags(state: State, signal?: AbortSignal): Promise<Tags> {
  const parameters = selectionParameters({ ...state, refinements: withoutTags(state.refinements) });
  return fetchBody("api/0/tags", { ...parameters, sample_type: state.sampleType || undefined }, signal);
}

export function exportUrl(state: State, format: ExportFormat, base = false): string {
  return apiUrl("api/0/profiles/merge", {
    ...selectionParameters(state, base),
    ...(format === "pprof" ? {} : { format, sample_type: state.sampleType || undefined }),
  });
}

export async function fetchMerge(state: State, format: ExportFormat, base = false): Promise<Blob> {
  return (await request(exportUrl(state, format, base))).blob();
}

async function fetchBody<T>(path: string, parameters: Parameters, signal?: AbortSignal): Promise<T> {
  const response = await request(apiUrl(path, parameters), signal);
  return ((await response.json()) as { body: T }).body;
}

async function request(url: string, signal?: AbortSignal): Promise<Response> {
  const key = apiKey.get();
  let response: Response;
  try {
    response = await fetch(url, {
      headers: key ? { Authorization: `Bearer ${key}` } : {},
      credentials: "omit",
      signal: signal ?? null,
    });
  } catch (error) {
    if (signal?.aborted) throw error;
    throw new ApiError(0, "the collector did not respond, or redirected to a host that this page may not read");
  }
  if (response.ok) return response;
  throw errorOf(response.status, await response.text());
}

// Returns the error of an answer. A proxy's answer is not JSON: its text, or the title of its page, is the message.
export function errorOf(status: number, text: string): ApiError {
  try {
    const { error, error_code } = JSON.parse(text) as { error?: string; error_code?: string };
    if (error) return new ApiError(status, error, error_code);
  } catch {
    // not JSON
  }
  if (/^\s*</.test(text)) {
    const title = /<title[^>]*>([^<]*)</i.exec(text)?.[1]?.trim();
    return new ApiError(
      status,
      `a proxy answered with status ${status}${title ? `: ${title.slice(0, 200)}` : ""}`,
    );
  }
  return new ApiError(status, text.slice(0, 500) || `the collector answered with status ${status}`);
}
