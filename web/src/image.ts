// Images of flame graphs as they are zoomed, with all levels, one below the other.

import { drawFrames, FONT, ROW_HEIGHT, TEXT_PADDING, visitFrames, type Viewport } from "./draw";
import type { Graph } from "./graphs";

export const IMAGE_WIDTH = 1600; // pixels
const MAX_LEVELS = 400; // of a graph
const MAX_PNG_HEIGHT = 16_384; // pixels of the device: of a canvas in Safari; in others it is larger
const LINE_HEIGHT = 20; // pixels, of captions and titles

interface Line {
  text: string;
  y: number; // its middle
}

interface Layout {
  height: number;
  lines: Line[];
  graphs: { graph: Graph; top: number; viewport: Viewport }[];
}

// Returns where *captions* and *graphs* are in an image.
export function layOutImage(captions: readonly string[], graphs: readonly Graph[]): Layout {
  const layout: Layout = { height: 0, lines: [], graphs: [] };
  const addLine = (text: string): void => {
    layout.lines.push({ text, y: layout.height + LINE_HEIGHT / 2 });
    layout.height += LINE_HEIGHT;
  };
  captions.forEach(addLine);
  for (const graph of graphs) {
    if (graph.title) addLine(graph.title);
    const viewport = viewportOf(graph);
    layout.graphs.push({ graph, top: layout.height, viewport });
    layout.height += viewport.height;
  }
  return layout;
}

function viewportOf({ tree, zoom, rootAtBottom, topLevel }: Graph): Viewport {
  const zoomed = tree.widestAncestor(tree.findStack(zoom));
  const [left, right] = [tree.left[zoomed]!, tree.right[zoomed]!];
  const isShown = (level: number): boolean => {
    const node = tree.levels[level]?.[tree.firstEndingAfter(level, left)];
    return node !== undefined && tree.left[node]! < right;
  };
  let levels = 0;
  while (levels < MAX_LEVELS && tree.levels[topLevel + levels] && isShown(topLevel + levels)) levels++;
  return { left, right, width: IMAGE_WIDTH, height: levels * ROW_HEIGHT, scroll: 0, topLevel, rootAtBottom };
}

// Draws an image on a canvas, whose size it sets. High ones have fewer pixels: browsers save no canvas that is larger.
export function drawImage(canvas: HTMLCanvasElement, captions: readonly string[], graphs: readonly Graph[]): void {
  const { height, lines, graphs: placed } = layOutImage(captions, graphs);
  const ratio = Math.min(devicePixelRatio || 1, MAX_PNG_HEIGHT / height);
  canvas.width = Math.round(IMAGE_WIDTH * ratio);
  canvas.height = Math.round(height * ratio);
  const context = canvas.getContext("2d", { alpha: false })!;
  const { background, dimmedText } = graphs[0]!.style;
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  context.fillStyle = background;
  context.fillRect(0, 0, IMAGE_WIDTH, height);
  context.font = FONT;
  context.textBaseline = "middle";
  context.fillStyle = dimmedText;
  for (const { text, y } of lines) context.fillText(text, TEXT_PADDING, y);
  for (const { graph, top, viewport } of placed) {
    context.setTransform(ratio, 0, 0, ratio, 0, top * ratio);
    drawFrames(context, graph.tree, viewport, graph.style);
  }
}

// Returns an image as SVG. *describe* returns the tooltip of a frame.
export function toSvg(
  captions: readonly string[],
  graphs: readonly Graph[],
  describe: (graph: Graph, node: number) => string,
): string {
  const { height, lines, graphs: placed } = layOutImage(captions, graphs);
  const { background, dimmedText } = graphs[0]!.style;
  const parts = [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${IMAGE_WIDTH} ${height}" width="${IMAGE_WIDTH}" height="${height}">`,
    `<style>text{${`font:${FONT}`.replaceAll('"', "'")};dominant-baseline:central;white-space:pre}</style>`,
    `<rect width="${IMAGE_WIDTH}" height="${height}" fill="${background}"/>`,
    ...lines.map(({ text, y }) => svgText(text, 0, y, dimmedText)),
  ];
  for (const { graph, top, viewport } of placed) {
    visitFrames(graph.tree, viewport, graph.style, ({ node, x, y, width, color, opacity, text, textColor }) => {
      const fill = color.replaceAll(" ", ","); // the form of hsl() that all viewers know
      const box = `x="${round(x)}" y="${top + y}" width="${round(width)}" height="${ROW_HEIGHT - 1}"`;
      parts.push(
        `<g><title>${escapeXml(describe(graph, node))}</title>`,
        `<rect ${box} fill="${fill}"${opacity < 1 ? ` opacity="${opacity}"` : ""}/>`,
        text && svgText(text, x, top + y + ROW_HEIGHT / 2, textColor),
        "</g>",
      );
    });
  }
  return [...parts, "</svg>\n"].join("");
}

function svgText(text: string, x: number, y: number, fill: string): string {
  return `<text x="${round(x + TEXT_PADDING)}" y="${y}" fill="${fill}">${escapeXml(text)}</text>`;
}

function round(value: number): string {
  return value.toFixed(2);
}

// Escapes a text for XML, which does not allow these two characters. Names have no control characters.
function escapeXml(text: string): string {
  return text
    .replace(/[\ufffe\uffff]/g, "\ufffd")
    .replaceAll("&", "&amp;")
    .replaceAll("<", "&lt;")
    .replaceAll(">", "&gt;");
}
