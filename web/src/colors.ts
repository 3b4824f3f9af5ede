// Colours of frames. Text on all of them is dark, in both themes, with a contrast of 4.5 at least.

import { packageOf } from "./names";
import { OTHER, type Tree } from "./tree";

const HUES = [28, 48, 205, 150, 340, 270, 180, 95, 12, 235, 310, 125, 60, 190, 250];
const STEPS = 10;

export type Paint = (node: number) => string;

export function paintByPackage(tree: Tree, names: readonly string[], dark: boolean): Paint {
  const known = new Map<string, string>();
  const colors = names.map((name) => {
    const own = packageOf(name);
    let color = known.get(own);
    if (!color) known.set(own, (color = packageColor(own, dark)));
    return color;
  });
  return (node) => colors[tree.fn[node]!] ?? neutral(dark, tree.fn[node] === OTHER);
}

export function paintPlain(tree: Tree, dark: boolean): Paint {
  const color = dark ? "hsl(36 52% 62%)" : "hsl(38 80% 74%)";
  return (node) => (tree.fn[node]! >= 0 ? color : neutral(dark, tree.fn[node] === OTHER));
}

// From -1, all of it is gone, to 1, all of it is new.
export function paintChange(change: (node: number) => number, safe: boolean, dark: boolean): Paint {
  const scale: string[] = [];
  for (let step = -STEPS; step <= STEPS; step++) scale.push(changeColor(step / STEPS, safe, dark));
  return (node) => scale[Math.round(Math.max(-1, Math.min(1, change(node))) * STEPS) + STEPS]!;
}

export function changeColor(change: number, safe: boolean, dark: boolean): string {
  const hue = change > 0 ? (safe ? 30 : 6) : safe ? 214 : 142;
  const size = Math.abs(change);
  const saturation = Math.round(4 + (change > 0 || safe ? 62 : 34) * Math.sqrt(size));
  const light = dark ? Math.round(70 - 8 * size) : Math.round(88 - 20 * size);
  return `hsl(${hue} ${saturation}% ${light}%)`;
}

function packageColor(own: string, dark: boolean): string {
  let sum = 0;
  for (let i = 0; i < own.length; i++) sum = (sum * 31 + own.charCodeAt(i)) | 0;
  if (own === "runtime" || own.startsWith("runtime/") || own.startsWith("[")) {
    return dark ? "hsl(215 10% 62%)" : "hsl(215 14% 80%)";
  }
  const hue = HUES[Math.abs(sum) % HUES.length]!;
  const shade = (Math.abs(sum >> 8) % 5) - 2;
  return dark ? `hsl(${hue} 42% ${64 + shade * 1.5}%)` : `hsl(${hue} 62% ${77 + shade * 1.5}%)`;
}

function neutral(dark: boolean, other: boolean): string {
  if (other) return dark ? "hsl(215 6% 55%)" : "hsl(215 8% 86%)";
  return dark ? "hsl(215 8% 66%)" : "hsl(215 12% 83%)";
}
