import { drawFlameGraph, ROW_HEIGHT, type FrameStyle } from "./draw";
import type { Tree } from "./tree";

const DOWNLOAD_MILLISECONDS = 60_000; // until the browser has read the file
const IMAGE_WIDTH = 1600; // pixels
const MAX_IMAGE_LEVELS = 400;

export function saveBlob(blob: Blob, name: string): void {
  const url = URL.createObjectURL(blob);
  const link = document.createElement("a");
  link.href = url;
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(url), DOWNLOAD_MILLISECONDS);
}

// Saves the flame graph within a node as an image of all its levels.
export function saveImage(
  tree: Tree,
  zoomed: number,
  style: FrameStyle,
  rootAtBottom: boolean,
  name: string,
): void {
  const canvas = document.createElement("canvas");
  const height = Math.min(tree.levels.length, MAX_IMAGE_LEVELS) * ROW_HEIGHT;
  const [left, right] = [tree.left[zoomed]!, tree.right[zoomed]!];
  const viewport = { left, right, width: IMAGE_WIDTH, height, scroll: 0, topLevel: 0, rootAtBottom };
  drawFlameGraph(canvas, tree, viewport, style);
  canvas.toBlob((blob) => blob && saveBlob(blob, name), "image/png");
}
