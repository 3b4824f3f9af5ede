// Names of functions, labels and services. They come from untrusted profiles.

import { demangle } from "./demangle";

// Control characters, and the invisible ones that reorder or hide text.
// eslint-disable-next-line no-control-regex
const UNSAFE = /[\u0000-\u001f\u007f-\u009f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff]/g;

// Replaces unsafe characters by U+FFFD. Preact escapes markup.
export function sanitize(name: string): string {
  return name.replace(UNSAFE, "\ufffd");
}

// Shortens a label's value in the middle: long ones, as of pods, often differ at their ends.
export function shortenValue(value: string, maxCharacters = 32): string {
  const characters = [...value];
  if (characters.length <= maxCharacters) return value;
  const kept = (maxCharacters - 1) >> 1;
  return `${characters.slice(0, kept).join("")}…${characters.slice(-kept).join("")}`;
}

const readableNames = new Map<string, string>();
const MAX_READABLE_NAMES = 100_000;

// Returns the name of a function as it is shown. Requests have the name as it is in the profile.
export function displayName(name: string): string {
  if (!name.startsWith("_")) return sanitize(name);
  let readable = readableNames.get(name);
  if (readable === undefined) {
    if (readableNames.size >= MAX_READABLE_NAMES) readableNames.clear();
    readable = sanitize(demangle(name));
    readableNames.set(name, readable);
  }
  return readable;
}

// Returns a regular expression, in RE2's syntax, that matches a text.
export function escapeRegex(text: string): string {
  return text.replace(/[^\w\u0080-\uffff]/g, "\\$&");
}

// Returns the package, module or library of a function. Frames are colored by it. Go's names have the package before
// the first dot; in those of Java and Python the class or the function follows the last dots of it.
export function packageOf(name: string, file = ""): string {
  if (name.startsWith("[")) return name;
  const colons = name.indexOf("::");
  if (colons > 0) return name.slice(0, colons);
  const slash = name.lastIndexOf("/");
  const dot = name.indexOf(".", slash + 1);
  if (dot <= 0) return name;
  if (slash >= 0 || file.endsWith(".go") || name.startsWith("(", dot + 1)) return name.slice(0, dot);
  const parts = name
    .split(/\.<|[(<$]/, 1)[0]!
    .split(".")
    .slice(0, -1);
  const type = parts.findIndex((part) => /^\p{Lu}/u.test(part));
  return parts.slice(0, type > 0 ? type : undefined).join(".") || name;
}

// Returns ever shorter forms of a name, as `go tool pprof` does: without the directory of a Go package, then without
// each part that ends with a dot or "::". Separators in arguments stay.
export function shortNames(name: string): string[] {
  const forms = [];
  let depth = 0;
  for (let i = 0; i < name.length; i++) {
    const character = name[i]!;
    if ("(<[{".includes(character)) depth++;
    else if (")>]}".includes(character)) depth = Math.max(0, depth - 1);
    else if (depth === 0) {
      const length = character === "." || character === "/" ? 1 : name.startsWith("::", i) ? 2 : 0;
      if (!length || i + length >= name.length) continue;
      i += length - 1;
      if (character === "/") forms.length = 0; // a directory is dropped as a whole
      forms.push(name.slice(i + 1));
    }
  }
  return forms;
}
