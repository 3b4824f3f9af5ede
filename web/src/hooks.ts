import type { RefObject } from "preact";
import { useCallback, useEffect, useLayoutEffect, useRef, useState } from "preact/hooks";
import { itemsOf } from "./storage";
import { fromQuery, toQuery, type State, type UpdateState } from "./state";
import type { Zone } from "./zone";

const LIVE_MILLISECONDS = 30_000;
const preferences = itemsOf(() => localStorage);

export type Fetched<T> =
  | { state: "idle" }
  | { state: "loading"; previous: T | null }
  | { state: "failed"; error: Error }
  | { state: "loaded"; value: T };

// Calls *load* whenever *key* changes, and aborts the previous call. A null key means that there is nothing to load.
export function useFetched<T>(key: string | null, load: (signal: AbortSignal) => Promise<T>): Fetched<T> {
  const [latest, setLatest] = useState<{ key: string | null; fetched: Fetched<T> }>({
    key: null,
    fetched: { state: "idle" },
  });
  const latestLoad = useRef(load);
  useLayoutEffect(() => {
    latestLoad.current = load;
  });
  useEffect(() => {
    if (key === null) {
      setLatest({ key, fetched: { state: "idle" } });
      return;
    }
    const controller = new AbortController();
    const finish = (fetched: Fetched<T>): void => {
      if (!controller.signal.aborted) setLatest({ key, fetched });
    };
    latestLoad.current(controller.signal).then(
      (value) => finish({ state: "loaded", value }),
      (error: unknown) => finish({ state: "failed", error: error as Error }),
    );
    return () => controller.abort();
  }, [key]);
  // A value of another key is outdated even before the effect above runs.
  if (key === latest.key) return latest.fetched;
  return key === null ? { state: "idle" } : { state: "loading", previous: latestValue(latest.fetched) };
}

// As useState, but a change of *key* resets the state to *initial*: within the same frame, unlike an effect.
export function useStateOf<T>(key: unknown, initial: T): [T, (value: T) => void] {
  const [latest, setLatest] = useState({ key, value: initial });
  if (latest.key !== key) setLatest({ key, value: initial }); // renders once more, at once
  return [latest.key === key ? latest.value : initial, (value) => setLatest({ key, value })];
}

// Returns *value* once it has stayed the same for some time.
export function useSettled<T>(value: T, milliseconds: number): T {
  const [settled, setSettled] = useState(value);
  useEffect(() => {
    const timer = setTimeout(() => setSettled(value), milliseconds);
    return () => clearTimeout(timer);
  }, [value, milliseconds]);
  return settled;
}

// Lets "/" move the focus to the first search field.
export function useSearchKey(): void {
  useEffect(() => {
    const focusSearch = (event: KeyboardEvent): void => {
      if (event.key !== "/" || event.ctrlKey || event.metaKey || event.altKey) return;
      if ((event.target as Element).closest("input, select, textarea, dialog")) return;
      const field = document.querySelector<HTMLInputElement>("main input[type=search]");
      if (!field) return;
      event.preventDefault();
      field.select();
    };
    addEventListener("keydown", focusSearch);
    return () => removeEventListener("keydown", focusSearch);
  }, []);
}

// Returns the value or, while it loads, the previous one.
export function latestValue<T>(fetched: Fetched<T>): T | null {
  if (fetched.state === "loaded") return fetched.value;
  return fetched.state === "loading" ? fetched.previous : null;
}

// Keeps the state in the URL and follows the browser's Back and Forward.
export function useUrlState(): [State, UpdateState] {
  const [state, setState] = useState(() => fromQuery(location.search));
  const current = useRef(state);
  useEffect(() => {
    const restore = (): void => setState((current.current = fromQuery(location.search)));
    addEventListener("popstate", restore);
    return () => removeEventListener("popstate", restore);
  }, []);
  const update = useCallback<UpdateState>((changes, addToHistory = true) => {
    current.current = { ...current.current, ...changes };
    const url = `?${toQuery(current.current)}`;
    if (url !== location.search) {
      if (addToHistory) history.pushState(null, "", url);
      else history.replaceState(null, "", url);
    }
    setState(current.current);
  }, []);
  return [state, update];
}

// Returns the inner size of an element in pixels, and follows its changes.
export function useSize(element: RefObject<HTMLElement | null>): { width: number; height: number } {
  const [size, setSize] = useState({ width: 0, height: 0 });
  useLayoutEffect(() => {
    const measure = (): void => {
      const { clientWidth: width, clientHeight: height } = element.current!;
      setSize((before) => (before.width === width && before.height === height ? before : { width, height }));
    };
    measure();
    const observer = new ResizeObserver(measure);
    observer.observe(element.current!);
    return () => observer.disconnect();
  }, [element]);
  return size;
}

export function prefersReducedMotion(): boolean {
  return matchMedia("(prefers-reduced-motion: reduce)").matches;
}

const ZONE_ITEM = "profbucket.zone";

// Returns the zone that times are shown in, and its setter.
export function useZone(): [Zone, (zone: Zone) => void] {
  const [zone, setZone] = useState<Zone>(() => (preferences.get(ZONE_ITEM) === "local" ? "local" : "UTC"));
  const choose = (chosen: Zone): void => {
    preferences.set(ZONE_ITEM, chosen === "local" ? chosen : null);
    setZone(chosen);
  };
  return [zone, choose];
}

// Calls *refresh* in intervals as long as the page is visible.
export function useLive(live: boolean, refresh: () => void): void {
  const latestRefresh = useRef(refresh);
  useLayoutEffect(() => {
    latestRefresh.current = refresh;
  });
  useEffect(() => {
    if (!live) return;
    const timer = setInterval(() => document.hidden || latestRefresh.current(), LIVE_MILLISECONDS);
    return () => clearInterval(timer);
  }, [live]);
}

export type Theme = "auto" | "light" | "dark";
const THEME_ITEM = "profbucket.theme";
const DARK_MODE = "(prefers-color-scheme: dark)";

// Returns the chosen theme, its setter, and whether the page is dark now.
export function useTheme(): [Theme, (theme: Theme) => void, boolean] {
  const [theme, setTheme] = useState<Theme>(() => (preferences.get(THEME_ITEM) as Theme | null) ?? "auto");
  const [systemIsDark, setSystemIsDark] = useState(() => matchMedia(DARK_MODE).matches);
  useEffect(() => {
    const media = matchMedia(DARK_MODE);
    const follow = (event: MediaQueryListEvent): void => setSystemIsDark(event.matches);
    media.addEventListener("change", follow);
    return () => media.removeEventListener("change", follow);
  }, []);
  const dark = theme === "auto" ? systemIsDark : theme === "dark";
  useLayoutEffect(() => {
    document.documentElement.dataset.theme = dark ? "dark" : "light";
  }, [dark]);
  const choose = (chosen: Theme): void => {
    preferences.set(THEME_ITEM, chosen === "auto" ? null : chosen);
    setTheme(chosen);
  };
  return [theme, choose, dark];
}
