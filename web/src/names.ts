// Names of functions, labels and services. They come from untrusted profiles.

// Control characters, and the invisible ones that reorder or hide text.
// eslint-disable-next-line no-control-regex
const UNSAFE = /[\u0000-\u001f\u007f-\u009f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff]/g;

// Replaces unsafe characters by U+FFFD. Preact escapes markup.
export function sanitize(name: string): string {
  return name.replace(UNSAFE, "\ufffd");
}

// Returns the package, module or library of a function. Frames are colored by it.
export function packageOf(name: string): string {
  if (name.startsWith("[")) return name;
  const colons = name.indexOf("::");
  if (colons > 0) return name.slice(0, colons);
  const slash = name.lastIndexOf("/");
  const dot = name.indexOf(".", slash + 1);
  return dot > 0 ? name.slice(0, dot) : name;
}

// Drops the directory of a Go package: "runtime/pprof.Do" becomes "pprof.Do". Slashes in arguments stay.
export function shortName(name: string): string {
  const end = name.search(/[([<]/);
  const slash = name.slice(0, end < 0 ? undefined : end).lastIndexOf("/");
  return name.slice(slash + 1);
}
