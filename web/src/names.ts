// Names come from strangers' programs: shown as text, never as markup, and without what turns text around.

const HIDDEN = /[\u0000-\u001f\u007f-\u009f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff]/g;

export function plain(name: string): string {
  return name.replace(HIDDEN, "\ufffd");
}

// The package, module or library that a function belongs to: what frames are coloured by.
export function packageOf(name: string): string {
  if (name.startsWith("[")) return name;
  const cpp = name.lastIndexOf("::");
  if (cpp > 0) return name.slice(0, name.indexOf("::"));
  const slash = name.lastIndexOf("/");
  const dot = name.indexOf(".", slash + 1);
  return dot > 0 ? name.slice(0, dot) : name;
}

// Go's names without the path of their package: "pprof.Do" of "runtime/pprof.Do".
export function short(name: string): string {
  const end = name.search(/[([<]/);
  const slash = name.slice(0, end < 0 ? undefined : end).lastIndexOf("/");
  return name.slice(slash + 1);
}
