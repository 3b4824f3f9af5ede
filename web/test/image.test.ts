import assert from "node:assert/strict";
import { beforeEach, test } from "node:test";
import type { FrameStyle } from "../src/draw";
import type { Graph } from "../src/graphs";
import { drawImage, IMAGE_WIDTH, layOutImage, toSvg } from "../src/image";
import { functionsOf, MAIN, treeOf } from "./fixtures";

const STYLE: FrameStyle = {
  color: () => "hsl(1 2% 3%)",
  matches: null,
  matchColor: "match",
  dimmedText: "gray",
  background: "white",
};
const TREE = treeOf();
const ROW = 19;
const LINE = 20;

function graphOf(changes: Partial<Graph> = {}): Graph {
  return {
    title: "",
    label: "",
    tree: TREE,
    style: STYLE,
    zoom: "",
    rootAtBottom: false,
    topLevel: 0,
    ...changes,
  };
}

beforeEach(() => Object.assign(globalThis, { devicePixelRatio: 2 }));

test("graphs are below one another, with captions and titles", () => {
  const layout = layOutImage(["one", "two"], [graphOf({ title: "Base" }), graphOf({ title: "Comparison" })]);
  const graphHeight = TREE.levels.length * ROW;
  assert.deepEqual(
    layout.lines.map(({ text, y }) => [text, y]),
    [
      ["one", LINE / 2],
      ["two", 1.5 * LINE],
      ["Base", 2.5 * LINE],
      ["Comparison", 3.5 * LINE + graphHeight],
    ],
  );
  assert.deepEqual(
    layout.graphs.map(({ top }) => top),
    [3 * LINE, 4 * LINE + graphHeight],
  );
  assert.equal(layout.height, 4 * LINE + 2 * graphHeight);
});

test("a zoomed graph has the levels within the frame", () => {
  const zoomed = graphOf({ zoom: TREE.stackId(8), topLevel: 0 }); // __proto__, which calls nothing
  const [{ viewport }] = layOutImage([], [zoomed]).graphs as [ReturnType<typeof layOutImage>["graphs"][number]];
  assert.equal(viewport.height, 2 * ROW);
  assert.deepEqual([viewport.left, viewport.right], [TREE.left[8], TREE.right[8]]);
  assert.equal(layOutImage([], [graphOf({ topLevel: 1 })]).height, (TREE.levels.length - 1) * ROW);
});

test("an SVG has a box, a text and a tooltip for each frame, and escapes names", () => {
  const tree = treeOf(undefined, functionsOf("<main> & co", "a", "b", "leaf\uffff", "__proto__"));
  const svg = toSvg(["<caption>"], [graphOf({ tree })], (_, node) => `${tree.nameOf(node)} <${node}>`);
  assert.ok(svg.startsWith(`<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${IMAGE_WIDTH} `));
  assert.equal(svg.match(/<g>/g)!.length, tree.count);
  assert.match(svg, /<text [^>]*fill="gray">&lt;caption&gt;<\/text>/);
  assert.match(
    svg,
    new RegExp(`<title>&lt;main&gt; &amp; co &lt;${MAIN}&gt;</title><rect [^>]*fill="hsl\\(1,2%,3%\\)"/>`),
  );
  assert.ok(svg.includes(">leaf\ufffd</text>"));
  assert.doesNotMatch(svg, /\uffff|<main>/);
});

test("frames that a search does not match are dimmed", () => {
  const style = { ...STYLE, matches: new Uint8Array([1, 0, 0, 0, 0]) };
  const svg = toSvg([], [graphOf({ style })], () => "");
  assert.match(svg, /fill="match"\/>/);
  assert.match(svg, /fill="hsl\(1,2%,3%\)" opacity="0.4"\/>/);
});

function draw(captions: string[], graphs: Graph[]) {
  const transforms: number[][] = [];
  const texts: string[] = [];
  const context = {
    setTransform: (...transform: number[]) => transforms.push(transform),
    measureText: (text: string) => ({ width: text.length * 6 }),
    fillRect: () => undefined,
    fillText: (text: string) => texts.push(text),
  };
  const canvas = { width: 0, height: 0, getContext: () => context };
  drawImage(canvas as unknown as HTMLCanvasElement, captions, graphs);
  return { canvas, transforms, texts };
}

test("a PNG has the size of the layout, in pixels of the device", () => {
  const { canvas, transforms, texts } = draw(["caption"], [graphOf(), graphOf({ title: "Base" })]);
  const graphHeight = TREE.levels.length * ROW;
  assert.deepEqual([canvas.width, canvas.height], [2 * IMAGE_WIDTH, 2 * (2 * LINE + 2 * graphHeight)]);
  assert.deepEqual(transforms.at(-1), [2, 0, 0, 2, 0, 2 * (2 * LINE + graphHeight)]);
  assert.deepEqual(texts.slice(0, 2), ["caption", "Base"]);
});

test("a PNG is no higher than browsers make images", () => {
  const levels = Array.from({ length: 1000 }, (_, i) => i);
  const tree = treeOf({
    parent: levels.map((i) => i - 1),
    function: levels.map((i) => (i ? 0 : -1)),
    values: [levels.map(() => 1)],
  });
  const { canvas } = draw(["caption"], [graphOf({ tree, title: "Base" }), graphOf({ tree, title: "Comparison" })]);
  const height = 3 * LINE + 2 * 400 * ROW;
  assert.equal(canvas.height, 16_384);
  assert.equal(canvas.width, Math.round((IMAGE_WIDTH * 16_384) / height));
});
