// The page's state. All of it is in the URL, so that a link shows what its sender saw.

import { formatMatchers, parseMatchers, type Matcher } from "./labels";
import { REFINEMENT_NAMES, type Refinements } from "./refinements";
import { pinRange } from "./times";

// Times in any form that the API accepts.
export interface TimeRange {
  from: string;
  to: string;
}

// How values of several profiles become one; "auto" depends on the sample type: memory in use is averaged, of counters
// the increase is taken.
export const AGGREGATES = ["auto", "sum", "average", "latest", "delta"] as const;
export type Aggregate = (typeof AGGREGATES)[number];

export interface State {
  service: string;
  profileType: string;
  sampleType: string; // empty: the default of the profile type
  aggregate: Aggregate;
  range: TimeRange; // shown by the timeline
  selection: TimeRange | null; // the merged part of the range; null: all of it
  labels: Matcher[];
  diff: boolean;
  baseSelection: TimeRange | null;
  baseLabels: Matcher[];
  groupBy: string; // a label's key
  refinements: Refinements; // of the merged profiles
  view: "both" | "flame" | "table";
  search: string;
  zoom: string; // see Tree.stackId
  focus: string; // the function whose callers and callees are shown
  rootAtBottom: boolean;
  colors: "package" | "plain";
  dragTarget: "base" | "comparison"; // whose time range dragging on the timeline selects
  colorBlindSafe: boolean;
  absolute: boolean; // a diff of values instead of percentages
  sideBySide: boolean; // a diff as two graphs
}

// Merges *changes* into the state; with *addToHistory*, which is the default, the browser's Back undoes it.
export type UpdateState = (changes: Partial<State>, addToHistory?: boolean) => void;

export const DEFAULT_STATE: State = {
  service: "",
  profileType: "",
  sampleType: "",
  aggregate: "auto",
  range: { from: "now-1h", to: "now" },
  selection: null,
  labels: [],
  diff: false,
  baseSelection: null,
  baseLabels: [],
  groupBy: "",
  refinements: {},
  view: "both",
  search: "",
  zoom: "",
  focus: "",
  rootAtBottom: false,
  colors: "package",
  dragTarget: "comparison",
  colorBlindSafe: false,
  absolute: false,
  sideBySide: false,
};

// Returns the changes that switch to another service: the range and the settings stay, everything else is reset.
export function switchService(service: string): Partial<State> {
  const { profileType, labels, diff, baseLabels, baseSelection, selection, groupBy, search, refinements } =
    DEFAULT_STATE;
  const reset = { labels, diff, baseLabels, baseSelection, selection, groupBy, search, refinements };
  return { service, ...switchProfileType(profileType), ...reset };
}

// Returns the changes that switch to another profile type of the same service.
export function switchProfileType(profileType: string): Partial<State> {
  return { profileType, sampleType: "", aggregate: "auto", zoom: "", focus: "" };
}

// Returns the state with absolute times, so that a link to it keeps its meaning. *now* is in unix seconds.
export function pinState(state: State, now: number): State {
  const pin = (range: TimeRange | null): TimeRange | null => range && pinRange(range, now);
  return {
    ...state,
    range: pinRange(state.range, now),
    selection: pin(state.selection),
    baseSelection: pin(state.baseSelection),
  };
}

export function toQuery(state: State): string {
  const query = new URLSearchParams();
  const set = (name: string, value: string): void => {
    if (value) query.set(name, value);
  };
  set("service", state.service);
  set("type", state.profileType);
  set("sample", state.sampleType);
  set("aggregate", state.aggregate === "auto" ? "" : state.aggregate);
  set("from", state.range.from);
  set("to", state.range.to === "now" ? "" : state.range.to);
  set("sel", formatRange(state.selection));
  set("labels", formatMatchers(state.labels));
  if (state.diff) {
    query.set("base_labels", formatMatchers(state.baseLabels)); // its presence means a diff
    set("base_sel", formatRange(state.baseSelection));
    set("drag", state.dragTarget === "base" ? "base" : "");
    set("safe", state.colorBlindSafe ? "1" : "");
    set("absolute", state.absolute ? "1" : "");
    set("side", state.sideBySide ? "1" : "");
  }
  set("group", state.groupBy);
  for (const name of REFINEMENT_NAMES) set(`pprof_${name}`, state.refinements[name] ?? "");
  set("view", state.view === "both" ? "" : state.view);
  set("search", state.search);
  set("zoom", state.zoom);
  set("focus", state.focus);
  set("flip", state.rootAtBottom ? "1" : "");
  set("colors", state.colors === "package" ? "" : state.colors);
  return query.toString();
}

export function fromQuery(text: string): State {
  const query = new URLSearchParams(text);
  const get = (name: string): string => query.get(name) ?? "";
  const view = get("view");
  return {
    service: get("service"),
    profileType: get("type"),
    sampleType: get("sample"),
    aggregate: AGGREGATES.find((aggregate) => aggregate === get("aggregate")) ?? "auto",
    range: { from: get("from") || DEFAULT_STATE.range.from, to: get("to") || DEFAULT_STATE.range.to },
    selection: parseRange(get("sel")),
    labels: parseMatchers(get("labels")),
    diff: query.has("base_labels"),
    baseSelection: parseRange(get("base_sel")),
    baseLabels: parseMatchers(get("base_labels")),
    groupBy: get("group"),
    refinements: Object.fromEntries(
      REFINEMENT_NAMES.map((name) => [name, get(`pprof_${name}`)]).filter(([, text]) => text),
    ) as Refinements,
    view: view === "flame" || view === "table" ? view : "both",
    search: get("search"),
    zoom: get("zoom"),
    focus: get("focus"),
    rootAtBottom: get("flip") === "1",
    colors: get("colors") === "plain" ? "plain" : "package",
    dragTarget: get("drag") === "base" ? "base" : "comparison",
    colorBlindSafe: get("safe") === "1",
    absolute: get("absolute") === "1",
    sideBySide: get("side") === "1",
  };
}

function formatRange(range: TimeRange | null): string {
  return range ? `${range.from}~${range.to}` : "";
}

function parseRange(text: string): TimeRange | null {
  const [from, to] = text.split("~");
  return from && to ? { from, to } : null;
}
