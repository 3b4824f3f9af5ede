// The collector's API, as far as the page asks it.

import { formatMatchers, quote, type Matcher } from "./labels";
import type { Span, State } from "./state";

export interface SampleType {
  type: string;
  unit: string;
}

export interface Choices {
  types: string[];
  labels: { key: string; values: string[] }[];
  complete: boolean;
}

export interface Series {
  start: string;
  step: number;
  sample_types: SampleType[];
  groups: {
    labels: { key: string; value: string }[];
    profiles: number[];
    values: number[][];
    others?: number;
  }[];
}

export interface Nodes {
  parent: number[];
  function: number[]; // a place in the functions; -1 is everything, -2 what was folded
  values: number[][];
}

export interface Functions {
  name: string[];
  file: string[];
  line: number[];
  flat: number[][];
  cum: number[][];
  count: number;
}

export interface Flame {
  sample_type: SampleType;
  sample_types: SampleType[];
  totals: number[];
  functions: Functions;
  nodes: Nodes;
  callers?: Nodes;
  profiles: { found: number; merged: number; expired: number }[];
}

export class ApiError extends Error {
  constructor(
    readonly status: number,
    message: string,
  ) {
    super(message);
  }
}

const KEY = "profbucket.key";
const NODES = 20000; // frames of one graph; what is smaller is folded on the server

export const key = {
  get: (): string => sessionStorage.getItem(KEY) ?? "",
  set: (value: string): void => sessionStorage.setItem(KEY, value),
  forget: (): void => sessionStorage.removeItem(KEY),
};

type Parameters = Record<string, string | undefined>;

export function address(path: string, parameters: Parameters): string {
  const query = Object.entries(parameters)
    .filter((pair): pair is [string, string] => pair[1] !== undefined)
    .map(([name, value]) => `${name}=${quote(value)}`)
    .join("&");
  return new URL(`${path}?${query}`, document.baseURI.replace(/[?#].*/s, "")).href;
}

async function ask(url: string, signal?: AbortSignal): Promise<Response> {
  const secret = key.get();
  let response: Response;
  try {
    response = await fetch(url, {
      headers: secret ? { Authorization: `Bearer ${secret}` } : {},
      credentials: "omit",
      signal: signal ?? null,
    });
  } catch (error) {
    if (signal?.aborted) throw error;
    throw new ApiError(0, "the collector did not answer, or its answer lies on another host");
  }
  if (response.ok) return response;
  const text = await response.text();
  let sentence = text.slice(0, 500) || `the collector answered ${response.status}`;
  try {
    sentence = (JSON.parse(text) as { error: string }).error;
  } catch {
    // a proxy's answer, not the collector's
  }
  throw new ApiError(response.status, sentence);
}

async function body<T>(path: string, parameters: Parameters, signal?: AbortSignal): Promise<T> {
  const response = await ask(address(path, parameters), signal);
  return ((await response.json()) as { body: T }).body;
}

export function selection(state: State, base = false): Parameters {
  const span: Span = (base ? state.basePicked : state.picked) ?? state.range;
  const labels: Matcher[] = base ? state.baseLabels : state.labels;
  return {
    service: state.service,
    type: state.type,
    from: span.from,
    to: span.to === "now" ? undefined : span.to,
    labels: labels.length ? formatMatchers(labels) : undefined,
  };
}

export function services(signal?: AbortSignal): Promise<string[]> {
  return body("api/0/services", {}, signal);
}

export function choices(service: string, signal?: AbortSignal): Promise<Choices> {
  return body("api/0/labels", { service }, signal);
}

export function series(state: State, signal?: AbortSignal): Promise<Series> {
  const { service, type, range, labels, diff, group } = state;
  return body(
    "api/0/series",
    {
      service,
      type,
      from: range.from,
      to: range.to === "now" ? undefined : range.to,
      labels: labels.length && !diff ? formatMatchers(labels) : undefined,
      group_by: group || undefined,
    },
    signal,
  );
}

export function flame(state: State, limit: number | null, signal?: AbortSignal): Promise<Flame> {
  const { from, to, labels } = selection(state, true);
  return body(
    "api/0/profiles/flame",
    {
      ...selection(state),
      sample_type: state.sample || undefined,
      focus: state.focus || undefined,
      max_nodes: String(NODES),
      limit: limit === null ? undefined : String(limit),
      ...(state.diff ? { base_from: from, base_to: to ?? "now", base_labels: labels ?? "" } : {}),
    },
    signal,
  );
}

export function mergeAddress(state: State, base = false): string {
  return address("api/0/profiles/merge", selection(state, base));
}

export async function pprof(state: State): Promise<Blob> {
  return (await ask(mergeAddress(state))).blob();
}
