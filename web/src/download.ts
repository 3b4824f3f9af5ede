// Files that the page makes, saved by the browser.

import { drawImage } from "./image";
import type { Graph } from "./graphs";

const DOWNLOAD_MILLISECONDS = 60_000; // until the browser has read the file

export function saveBlob(blob: Blob, name: string): void {
  const url = URL.createObjectURL(blob);
  const link = document.createElement("a");
  link.href = url;
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(url), DOWNLOAD_MILLISECONDS);
}

// Saves flame graphs as a PNG.
export function savePng(captions: readonly string[], graphs: readonly Graph[], name: string): void {
  const canvas = document.createElement("canvas");
  drawImage(canvas, captions, graphs);
  canvas.toBlob((blob) => blob && saveBlob(blob, name), "image/png");
}
