// Draws a flame graph on a canvas. Only visible frames are drawn, so that the time does not depend on the tree's size.

import type { NodeColor } from "./colors";
import { shortNames } from "./names";
import type { Tree } from "./tree";

export const ROW_HEIGHT = 19; // pixels
const FONT = '11px ui-monospace, "SF Mono", Menlo, Consolas, "DejaVu Sans Mono", monospace';
const TEXT_COLOR = "#16191d";
const TEXT_PADDING = 4; // pixels, on each side
const MIN_CHARACTERS = 3;
const MIN_FRAME_WIDTH = 0.7; // pixels
const MAX_NAME = 1000; // characters that are looked at
const MAX_KNOWN_FORMS = 20_000;

export interface Viewport {
  left: number; // fractions of the root's width, as Tree.left and Tree.right
  right: number;
  width: number; // pixels, as the next two
  height: number;
  scroll: number;
  topLevel: number; // the first level that is shown
  rootAtBottom: boolean;
}

export interface FrameStyle {
  color: NodeColor;
  matches: Uint8Array | null; // 1 for each function that the search matches; null without a search
  matchColor: string;
  dimmedText: string;
  background: string;
}

let characterWidth = 0;

export function drawFlameGraph(
  canvas: HTMLCanvasElement,
  tree: Tree,
  viewport: Viewport,
  style: FrameStyle,
): void {
  const start = performance.now();
  const ratio = devicePixelRatio || 1;
  const width = Math.round(viewport.width * ratio);
  const height = Math.round(viewport.height * ratio);
  if (canvas.width !== width || canvas.height !== height) {
    canvas.width = width;
    canvas.height = height;
  }
  const context = canvas.getContext("2d", { alpha: false })!;
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  context.fillStyle = style.background;
  context.fillRect(0, 0, viewport.width, viewport.height);
  context.font = FONT;
  context.textBaseline = "middle";
  characterWidth ||= context.measureText("mmmmmmmmmm").width / 10;
  for (let level = viewport.topLevel; level < tree.levels.length; level++) {
    const y = rowTop(level, viewport);
    if (y > -ROW_HEIGHT && y < viewport.height) drawLevel(context, tree, level, y, viewport, style);
  }
  context.globalAlpha = 1;
  // Performance observers, the benchmark's among them, see the measure; it is not kept.
  performance.measure("flame:draw", { start, end: performance.now() });
  performance.clearMeasures("flame:draw");
}

export function rowTop(level: number, viewport: Viewport): number {
  const offset = (level - viewport.topLevel) * ROW_HEIGHT;
  return viewport.rootAtBottom
    ? viewport.height - ROW_HEIGHT - offset + viewport.scroll
    : offset - viewport.scroll;
}

export function levelAt(y: number, viewport: Viewport): number {
  const offset = viewport.rootAtBottom ? viewport.height - y + viewport.scroll : y + viewport.scroll;
  return Math.floor(offset / ROW_HEIGHT) + viewport.topLevel;
}

function drawLevel(
  context: CanvasRenderingContext2D,
  tree: Tree,
  level: number,
  y: number,
  viewport: Viewport,
  style: FrameStyle,
): void {
  const nodes = tree.levels[level]!;
  const scale = viewport.width / (viewport.right - viewport.left);
  let drawnTo = -1; // frames narrower than a pixel share it: the first one is drawn
  for (let i = tree.firstEndingAfter(level, viewport.left); i < nodes.length; i++) {
    const node = nodes[i]!;
    if (tree.left[node]! >= viewport.right) break;
    const left = Math.max(0, (tree.left[node]! - viewport.left) * scale);
    const right = Math.min(viewport.width, (tree.right[node]! - viewport.left) * scale);
    if (right <= drawnTo || right <= left) continue;
    const gap = right - left > 3 ? 1 : 0;
    const width = Math.max(right - left - gap, MIN_FRAME_WIDTH);
    const fn = tree.fn[node]!;
    const matches = fn >= 0 && style.matches?.[fn] === 1;
    const dimmed = style.matches !== null && !matches;
    context.globalAlpha = dimmed ? 0.4 : 1;
    context.fillStyle = matches ? style.matchColor : style.color(node);
    context.fillRect(left, y, width, ROW_HEIGHT - 1);
    if (width < 1) drawnTo = left + 1;
    const characters = Math.floor((width - 2 * TEXT_PADDING) / characterWidth);
    if (characters < MIN_CHARACTERS) continue;
    context.globalAlpha = 1;
    context.fillStyle = dimmed ? style.dimmedText : TEXT_COLOR;
    context.fillText(fitText(tree.nameOf(node), characters), left + TEXT_PADDING, y + ROW_HEIGHT / 2);
  }
}

const knownForms = new Map<string, string[]>(); // each frame is drawn many times

function formsOf(name: string): string[] {
  let forms = knownForms.get(name);
  if (!forms) {
    if (knownForms.size >= MAX_KNOWN_FORMS) knownForms.clear();
    forms = shortNames(name.slice(0, MAX_NAME));
    knownForms.set(name, forms);
  }
  return forms;
}

// Shortens a name to at most *characters*: from the left or, if its last part is too long, cut at the end.
export function fitText(name: string, characters: number): string {
  if (name.length <= characters) return name;
  const forms = formsOf(name);
  const last = forms.at(-1) ?? name;
  return forms.find((form) => form.length <= characters) ?? `${last.slice(0, characters - 1)}…`;
}
