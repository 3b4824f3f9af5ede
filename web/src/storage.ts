// Web storage, which a browser may block: values then last as long as the page.

export interface Items {
  get: (name: string) => string | null;
  set: (name: string, value: string | null) => void; // null removes
}

// *open* returns the browser's storage, and may throw.
export function itemsOf(open: () => Storage): Items {
  const own = new Map<string, string>();
  return {
    get: (name) => {
      try {
        return open().getItem(name) ?? own.get(name) ?? null;
      } catch {
        return own.get(name) ?? null;
      }
    },
    set: (name, value) => {
      own.delete(name);
      try {
        if (value === null) open().removeItem(name);
        else open().setItem(name, value);
      } catch {
        if (value !== null) own.set(name, value);
      }
    },
  };
}
