// A flame graph on a canvas: only what is seen of it, so that its size does not matter.

import type { Paint } from "./colors";
import { short } from "./names";
import type { Tree } from "./tree";

export const ROW = 19; // pixels
const FONT = '11px ui-monospace, "SF Mono", Menlo, Consolas, "DejaVu Sans Mono", monospace';
const PADDING = 4;

export interface Window {
  left: number; // of the tree, from 0 to 1
  right: number;
  width: number; // pixels
  height: number;
  scroll: number;
  top: number; // the level that is shown first
  flip: boolean; // that level is at the bottom
}

export interface Look {
  paint: Paint;
  wanted: Uint8Array | null; // functions that stand out
  match: string;
  dimmed: string; // the text of what does not
  background: string;
}

let charWidth = 0;

export function draw(canvas: HTMLCanvasElement, tree: Tree, view: Window, look: Look): void {
  const begin = performance.now();
  const ratio = devicePixelRatio || 1;
  const width = Math.round(view.width * ratio);
  const height = Math.round(view.height * ratio);
  if (canvas.width !== width || canvas.height !== height) {
    canvas.width = width;
    canvas.height = height;
  }
  const context = canvas.getContext("2d", { alpha: false })!;
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  context.fillStyle = look.background;
  context.fillRect(0, 0, view.width, view.height);
  context.font = FONT;
  context.textBaseline = "middle";
  charWidth ||= context.measureText("mmmmmmmmmm").width / 10;
  const levels = tree.levels.length;
  for (let level = view.top; level < levels; level++) {
    const y = rowTop(level, view);
    if (y > -ROW && y < view.height) drawLevel(context, tree, level, y, view, look);
  }
  context.globalAlpha = 1;
  // For those who watch; it is not kept.
  performance.measure("flame:draw", { start: begin, end: performance.now() });
  performance.clearMeasures("flame:draw");
}

export function rowTop(level: number, view: Window): number {
  const row = (level - view.top) * ROW;
  return view.flip ? view.height - ROW - row + view.scroll : row - view.scroll;
}

export function levelAt(y: number, view: Window): number {
  const row = view.flip ? view.height - y + view.scroll : y + view.scroll;
  return Math.floor(row / ROW) + view.top;
}

function drawLevel(
  context: CanvasRenderingContext2D,
  tree: Tree,
  level: number,
  y: number,
  view: Window,
  look: Look,
): void {
  const nodes = tree.levels[level]!;
  const scale = view.width / (view.right - view.left);
  let drawn = -1; // what is narrower than a pixel shares it
  for (let i = tree.from(level, view.left); i < nodes.length; i++) {
    const node = nodes[i]!;
    if (tree.left[node]! >= view.right) break;
    const left = Math.max(0, (tree.left[node]! - view.left) * scale);
    const right = Math.min(view.width, (tree.right[node]! - view.left) * scale);
    if (right <= drawn || right - left <= 0) continue;
    const size = Math.max(right - left - (right - left > 3 ? 1 : 0), 0.7);
    const fn = tree.fn[node]!;
    const match = look.wanted && fn >= 0 && look.wanted[fn];
    context.globalAlpha = !look.wanted || match ? 1 : 0.4;
    context.fillStyle = match ? look.match : look.paint(node);
    context.fillRect(left, y, size, ROW - 1);
    drawn = Math.max(drawn, size < 1 ? left + 1 : 0);
    const room = Math.floor((size - 2 * PADDING) / charWidth);
    if (room < 3) continue;
    context.globalAlpha = 1;
    context.fillStyle = !look.wanted || match ? "#16191d" : look.dimmed;
    context.fillText(fitted(tree.name(node), room), left + PADDING, y + ROW / 2);
  }
}

function fitted(name: string, room: number): string {
  if (name.length <= room) return name;
  const brief = short(name);
  return brief.length <= room ? brief : `${brief.slice(0, room - 1)}…`;
}
