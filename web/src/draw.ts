// Draws flame graphs. Only visible frames are drawn, so that the time does not depend on the tree's size.

import type { NodeColor } from "./colors";
import { shortNames } from "./names";
import type { Tree } from "./tree";

export const ROW_HEIGHT = 19; // pixels
export const FONT = '11px ui-monospace, "SF Mono", Menlo, Consolas, "DejaVu Sans Mono", monospace';
const TEXT_COLOR = "#16191d";
export const TEXT_PADDING = 4; // pixels, on each side
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

// A frame as it is drawn: a box with its lower and right border left out, and as much of the name as fits.
export interface DrawnFrame {
  node: number;
  x: number; // pixels in the viewport, as the next two
  y: number;
  width: number;
  color: string;
  opacity: number; // of the box
  text: string; // empty if the box is too narrow
  textColor: string;
}

let characterWidth = 6.6; // pixels, until it is measured

// Draws a flame graph that fills a canvas.
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
  drawFrames(context, tree, viewport, style);
  // Performance observers, the benchmark's among them, see the measure; it is not kept.
  performance.measure("flame:draw", { start, end: performance.now() });
  performance.clearMeasures("flame:draw");
}

// Draws the frames of a flame graph at the origin of *context*.
export function drawFrames(
  context: CanvasRenderingContext2D,
  tree: Tree,
  viewport: Viewport,
  style: FrameStyle,
): void {
  context.font = FONT;
  context.textBaseline = "middle";
  characterWidth = context.measureText("mmmmmmmmmm").width / 10;
  visitFrames(tree, viewport, style, ({ x, y, width, color, opacity, text, textColor }) => {
    context.globalAlpha = opacity;
    context.fillStyle = color;
    context.fillRect(x, y, width, ROW_HEIGHT - 1);
    if (!text) return;
    context.globalAlpha = 1;
    context.fillStyle = textColor;
    context.fillText(text, x + TEXT_PADDING, y + ROW_HEIGHT / 2);
  });
  context.globalAlpha = 1;
}

// Calls *visit* for all visible frames.
export function visitFrames(
  tree: Tree,
  viewport: Viewport,
  style: FrameStyle,
  visit: (frame: DrawnFrame) => void,
): void {
  for (let level = viewport.topLevel; level < tree.levels.length; level++) {
    const y = rowTop(level, viewport);
    if (y > -ROW_HEIGHT && y < viewport.height) visitLevel(tree, level, y, viewport, style, visit);
  }
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

function visitLevel(
  tree: Tree,
  level: number,
  y: number,
  viewport: Viewport,
  style: FrameStyle,
  visit: (frame: DrawnFrame) => void,
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
    if (width < 1) drawnTo = left + 1;
    const characters = Math.floor((width - 2 * TEXT_PADDING) / characterWidth);
    visit({
      node,
      x: left,
      y,
      width,
      color: matches ? style.matchColor : style.color(node),
      opacity: dimmed ? 0.4 : 1,
      text: characters < MIN_CHARACTERS ? "" : fitText(tree.nameOf(node), characters),
      textColor: dimmed ? style.dimmedText : TEXT_COLOR,
    });
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

// Returns the end of a name that has at most *characters* or, if there is none, the shortest one.
export function fitName(name: string, characters: number): string {
  if (name.length <= characters) return name;
  const forms = formsOf(name);
  return forms.find((form) => form.length <= characters) ?? forms.at(-1) ?? name;
}

// Shortens a name to at most *characters*: from the left or, if its last part is too long, cut at the end.
export function fitText(name: string, characters: number): string {
  const form = fitName(name, characters);
  return form.length <= characters ? form : `${form.slice(0, characters - 1)}…`;
}
