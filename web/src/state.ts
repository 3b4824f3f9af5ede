// What is looked at. All of it is in the URL, so that a link shows what its sender saw.

import { useCallback, useEffect, useRef, useState } from "preact/hooks";
import { formatMatchers, parseMatchers, type Matcher } from "./labels";

export interface Span {
  from: string;
  to: string;
}

export interface State {
  service: string;
  type: string;
  sample: string;
  range: Span; // what the timeline shows, in any form that the API takes
  picked: Span | null; // what of it is looked at; null: all
  labels: Matcher[];
  diff: boolean;
  basePicked: Span | null;
  baseLabels: Matcher[];
  group: string;
  view: "both" | "flame" | "table";
  search: string;
  zoom: string; // the mark of a frame, see tree.ts
  focus: string; // the function in the middle of the sandwich
  flip: boolean; // the root at the bottom
  colors: "package" | "plain";
  drag: "base" | "now"; // which of the two dragging selects
  safe: boolean; // colours of a difference that do not need red and green told apart
  absolute: boolean; // differences of values instead of shares
}

export const START: State = {
  service: "",
  type: "",
  sample: "",
  range: { from: "now-1h", to: "now" },
  picked: null,
  labels: [],
  diff: false,
  basePicked: null,
  baseLabels: [],
  group: "",
  view: "both",
  search: "",
  zoom: "",
  focus: "",
  flip: false,
  colors: "package",
  drag: "now",
  safe: false,
  absolute: false,
};

export function toQuery(state: State): string {
  const query = new URLSearchParams();
  const put = (name: string, value: string): void => {
    if (value) query.set(name, value);
  };
  put("service", state.service);
  put("type", state.type);
  put("sample", state.sample);
  put("from", state.range.from);
  put("to", state.range.to === "now" ? "" : state.range.to);
  put("sel", spanText(state.picked));
  put("labels", formatMatchers(state.labels));
  if (state.diff) {
    query.set("base_labels", formatMatchers(state.baseLabels));
    put("base_sel", spanText(state.basePicked));
    put("drag", state.drag === "base" ? "base" : "");
    put("safe", state.safe ? "1" : "");
    put("absolute", state.absolute ? "1" : "");
  }
  put("group", state.group);
  put("view", state.view === "both" ? "" : state.view);
  put("search", state.search);
  put("zoom", state.zoom);
  put("focus", state.focus);
  put("flip", state.flip ? "1" : "");
  put("colors", state.colors === "package" ? "" : state.colors);
  return query.toString();
}

export function fromQuery(text: string): State {
  const query = new URLSearchParams(text);
  const get = (name: string): string => query.get(name) ?? "";
  const view = get("view");
  return {
    service: get("service"),
    type: get("type"),
    sample: get("sample"),
    range: { from: get("from") || START.range.from, to: get("to") || START.range.to },
    picked: span(get("sel")),
    labels: parseMatchers(get("labels")),
    diff: query.has("base_labels"),
    basePicked: span(get("base_sel")),
    baseLabels: parseMatchers(get("base_labels")),
    group: get("group"),
    view: view === "flame" || view === "table" ? view : "both",
    search: get("search"),
    zoom: get("zoom"),
    focus: get("focus"),
    flip: get("flip") === "1",
    colors: get("colors") === "plain" ? "plain" : "package",
    drag: get("drag") === "base" ? "base" : "now",
    safe: get("safe") === "1",
    absolute: get("absolute") === "1",
  };
}

// A change that a person would want to go back from is a step of the browser's history; typing is not.
export type Change = (change: Partial<State>, step?: boolean) => void;

export function useUrlState(): [State, Change] {
  const [state, setState] = useState(() => fromQuery(location.search));
  const last = useRef(state);
  useEffect(() => {
    const back = (): void => setState((last.current = fromQuery(location.search)));
    addEventListener("popstate", back);
    return () => removeEventListener("popstate", back);
  }, []);
  const change = useCallback<Change>((changes, step = true) => {
    const after = { ...last.current, ...changes };
    last.current = after;
    const url = `?${toQuery(after)}`;
    if (url !== location.search) {
      if (step) history.pushState(null, "", url);
      else history.replaceState(null, "", url);
    }
    setState(after);
  }, []);
  return [state, change];
}

function spanText(one: Span | null): string {
  return one ? `${one.from}~${one.to}` : "";
}

function span(text: string): Span | null {
  const [from, to] = text.split("~");
  return from && to ? { from, to } : null;
}
