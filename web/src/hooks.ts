import { useEffect, useLayoutEffect, useRef, useState } from "preact/hooks";
import type { RefObject } from "preact";

export type Loaded<T> =
  | { state: "none" }
  | { state: "loading"; last: T | null }
  | { state: "failed"; error: Error }
  | { state: "there"; value: T };

// What *load* gives, asked again whenever *key* changes; null: not yet.
export function useLoaded<T>(key: string | null, load: (signal: AbortSignal) => Promise<T>): Loaded<T> {
  const [loaded, setLoaded] = useState<Loaded<T>>({ state: "none" });
  const last = useRef<T | null>(null);
  useEffect(() => {
    if (key === null) {
      last.current = null;
      setLoaded({ state: "none" });
      return;
    }
    const abort = new AbortController();
    setLoaded({ state: "loading", last: last.current });
    load(abort.signal).then(
      (value) => {
        if (abort.signal.aborted) return;
        last.current = value;
        setLoaded({ state: "there", value });
      },
      (error: unknown) => {
        if (abort.signal.aborted) return;
        last.current = null;
        setLoaded({ state: "failed", error: error as Error });
      },
    );
    return () => abort.abort();
  }, [key]);
  return loaded;
}

export function valueOf<T>(loaded: Loaded<T>): T | null {
  if (loaded.state === "there") return loaded.value;
  return loaded.state === "loading" ? loaded.last : null;
}

export function useSize(box: RefObject<HTMLElement | null>): { width: number; height: number } {
  const [size, setSize] = useState({ width: 0, height: 0 });
  useLayoutEffect(() => {
    const measure = (): void => {
      const { clientWidth: width, clientHeight: height } = box.current!;
      setSize((before) => (before.width === width && before.height === height ? before : { width, height }));
    };
    measure();
    const observer = new ResizeObserver(measure);
    observer.observe(box.current!);
    return () => observer.disconnect();
  }, []);
  return size;
}

export function calm(): boolean {
  return matchMedia("(prefers-reduced-motion: reduce)").matches;
}

export type Theme = "auto" | "light" | "dark";
const THEME = "profbucket.theme";

export function useTheme(): [Theme, (theme: Theme) => void, boolean] {
  const media = matchMedia("(prefers-color-scheme: dark)");
  const [theme, setTheme] = useState<Theme>(() => (localStorage.getItem(THEME) as Theme | null) ?? "auto");
  const [system, setSystem] = useState(media.matches);
  useEffect(() => {
    const follow = (event: MediaQueryListEvent): void => setSystem(event.matches);
    media.addEventListener("change", follow);
    return () => media.removeEventListener("change", follow);
  }, []);
  const dark = theme === "auto" ? system : theme === "dark";
  useLayoutEffect(() => {
    document.documentElement.dataset.theme = dark ? "dark" : "light";
  }, [dark]);
  const choose = (chosen: Theme): void => {
    if (chosen === "auto") localStorage.removeItem(THEME);
    else localStorage.setItem(THEME, chosen);
    setTheme(chosen);
  };
  return [theme, choose, dark];
}
