// Colors of frames. All of them are light enough for dark text, with a contrast of at least 4.5, in both themes.

import type { Functions } from "./api";
import { displayName, packageOf } from "./names";
import { OTHER, type Tree } from "./tree";

const PACKAGE_HUES = [28, 48, 205, 150, 340, 270, 180, 95, 12, 235, 310, 125, 60, 190, 250];
const CHANGE_STEPS = 10; // colors on each side of zero

// Returns the CSS color of a node.
export type NodeColor = (node: number) => string;

export function colorByPackage(tree: Tree, functions: Pick<Functions, "name" | "file">, dark: boolean): NodeColor {
  const packageColors = new Map<string, string>();
  const colors = functions.name.map((name, fn) => {
    const packageName = packageOf(displayName(name), functions.file[fn]);
    const color = packageColors.get(packageName) ?? packageColor(packageName, dark);
    packageColors.set(packageName, color);
    return color;
  });
  return (node) => colors[tree.fn[node]!] ?? neutralColor(tree.fn[node]!, dark);
}

export function colorPlain(tree: Tree, dark: boolean): NodeColor {
  const color = dark ? "hsl(36 52% 62%)" : "hsl(38 80% 74%)";
  return (node) => (tree.fn[node]! >= 0 ? color : neutralColor(tree.fn[node]!, dark));
}

// Colors by *changeOf*, from -1 (gone) to 1 (new).
export function colorByChange(
  changeOf: (node: number) => number,
  colorBlindSafe: boolean,
  dark: boolean,
): NodeColor {
  const colors: string[] = [];
  for (let step = -CHANGE_STEPS; step <= CHANGE_STEPS; step++) {
    colors.push(changeColor(step / CHANGE_STEPS, colorBlindSafe, dark));
  }
  return (node) => colors[Math.round(Math.max(-1, Math.min(1, changeOf(node))) * CHANGE_STEPS) + CHANGE_STEPS]!;
}

// Returns red for growth and green for shrinkage, or orange and blue, which color-blind people can tell apart.
export function changeColor(change: number, colorBlindSafe: boolean, dark: boolean): string {
  const hue = change > 0 ? (colorBlindSafe ? 30 : 6) : colorBlindSafe ? 214 : 142;
  const size = Math.abs(change);
  const saturation = Math.round(4 + (change > 0 || colorBlindSafe ? 62 : 34) * Math.sqrt(size));
  const lightness = dark ? Math.round(70 - 8 * size) : Math.round(88 - 20 * size);
  return `hsl(${hue} ${saturation}% ${lightness}%)`;
}

// Returns a color that depends on the name only, so that a package looks the same in every profile.
function packageColor(packageName: string, dark: boolean): string {
  if (packageName === "runtime" || packageName.startsWith("runtime/") || packageName.startsWith("[")) {
    return dark ? "hsl(215 10% 62%)" : "hsl(215 14% 80%)";
  }
  let hash = 0;
  for (let i = 0; i < packageName.length; i++) hash = (hash * 31 + packageName.charCodeAt(i)) | 0;
  const hue = PACKAGE_HUES[Math.abs(hash) % PACKAGE_HUES.length]!;
  const shade = (Math.abs(hash >> 8) % 5) - 2;
  return dark ? `hsl(${hue} 42% ${66 + shade * 1.5}%)` : `hsl(${hue} 62% ${77 + shade * 1.5}%)`;
}

// Returns the color of a node that is no function: the root or "other".
function neutralColor(fn: number, dark: boolean): string {
  if (fn === OTHER) return dark ? "hsl(215 6% 55%)" : "hsl(215 8% 86%)";
  return dark ? "hsl(215 8% 66%)" : "hsl(215 12% 83%)";
}
