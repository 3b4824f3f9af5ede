import assert from "node:assert/strict";
import { beforeEach, describe, test } from "node:test";
import { drawFlameGraph, fitText, levelAt, ROW_HEIGHT, rowTop, type FrameStyle, type Viewport } from "../src/draw";
import type { Tree } from "../src/tree";
import { A, ALL, B, FUNCTIONS, functionsOf, MAIN, PROTO, treeOf } from "./fixtures";

const CHARACTER_WIDTH = 6;

interface Drawn {
  text?: string;
  fill: string;
  alpha: number;
  x: number;
  y: number;
  width?: number;
  height?: number;
}

// A canvas that records what is drawn on it.
class FakeCanvas {
  width = 0;
  height = 0;
  fillStyle = "";
  globalAlpha = 1;
  font = "";
  textBaseline = "";
  transform: number[] = [];
  rects: Drawn[] = [];
  texts: Drawn[] = [];

  getContext(): this {
    return this;
  }
  setTransform(...transform: number[]): void {
    this.transform = transform;
  }
  measureText(text: string): { width: number } {
    return { width: text.length * CHARACTER_WIDTH };
  }
  fillRect(x: number, y: number, width: number, height: number): void {
    this.rects.push({ fill: this.fillStyle, alpha: this.globalAlpha, x, y, width, height });
  }
  fillText(text: string, x: number, y: number): void {
    this.texts.push({ text, fill: this.fillStyle, alpha: this.globalAlpha, x, y });
  }
}

const VIEWPORT: Viewport = {
  left: 0,
  right: 1,
  width: 1000,
  height: 200,
  scroll: 0,
  topLevel: 0,
  rootAtBottom: false,
};
const STYLE: FrameStyle = {
  color: (node) => `color ${node}`,
  matches: null,
  matchColor: "match",
  dimmedText: "dimmed",
  background: "background",
};

beforeEach(() => Object.assign(globalThis, { devicePixelRatio: 1 }));

function draw(
  viewport: Partial<Viewport> = {},
  style: Partial<FrameStyle> = {},
  tree: Tree = treeOf(),
  canvas = new FakeCanvas(),
): FakeCanvas {
  canvas.rects = [];
  const view = { ...VIEWPORT, ...viewport };
  drawFlameGraph(canvas as unknown as HTMLCanvasElement, tree, view, { ...STYLE, ...style });
  const [background, ...rects] = canvas.rects;
  assert.deepEqual(background, {
    fill: "background",
    alpha: 1,
    x: 0,
    y: 0,
    width: view.width,
    height: view.height,
  });
  canvas.rects = rects;
  return canvas;
}

// The drawn frames by node.
function framesOf(canvas: FakeCanvas): Map<number, Drawn> {
  return new Map(canvas.rects.map((rect) => [Number(rect.fill.split(" ")[1]), rect]));
}

describe("rows", () => {
  test("the root is at the top", () => {
    assert.deepEqual(
      [0, 1, 3].map((level) => rowTop(level, VIEWPORT)),
      [0, 19, 57],
    );
    assert.equal(rowTop(3, { ...VIEWPORT, scroll: 30 }), 27);
    assert.equal(rowTop(3, { ...VIEWPORT, topLevel: 1 }), 38);
  });

  test("or at the bottom", () => {
    const viewport = { ...VIEWPORT, rootAtBottom: true };
    assert.deepEqual(
      [0, 1, 3].map((level) => rowTop(level, viewport)),
      [181, 162, 124],
    );
    assert.equal(rowTop(3, { ...viewport, scroll: 30 }), 154);
    assert.equal(rowTop(3, { ...viewport, topLevel: 1 }), 143);
  });

  test("a pixel of a row is in its level", () => {
    for (const rootAtBottom of [false, true]) {
      for (const scroll of [0, 7]) {
        for (const topLevel of [0, 1]) {
          const viewport = { ...VIEWPORT, rootAtBottom, scroll, topLevel };
          for (let level = topLevel; level < 9; level++) {
            const top = rowTop(level, viewport);
            assert.equal(levelAt(top + 0.5, viewport), level);
            assert.equal(levelAt(top + ROW_HEIGHT - 0.5, viewport), level);
          }
        }
      }
    }
  });
});

describe("frames", () => {
  test("each is drawn at its place, with a gap to the next", () => {
    const frames = framesOf(draw());
    assert.equal(frames.size, 9);
    assert.deepEqual(frames.get(MAIN), { fill: `color ${MAIN}`, alpha: 1, x: 0, y: 19, width: 899, height: 18 });
    assert.deepEqual(frames.get(A), { fill: `color ${A}`, alpha: 1, x: 500, y: 38, width: 299, height: 18 });
  });

  test("a zoom draws what is within it, cut at its edges", () => {
    const frames = framesOf(draw({ left: 0.5, right: 0.8 }));
    assert.deepEqual([...frames.keys()], [ALL, MAIN, A, 5, 7]);
    assert.deepEqual([frames.get(ALL)!.x, frames.get(ALL)!.width], [0, 999]);
    assert.ok(Math.abs(frames.get(5)!.width! - (1000 / 3 - 1)) < 1e-9);
  });

  test("rows out of sight are not drawn", () => {
    assert.deepEqual([...framesOf(draw({ scroll: 19, height: 19 })).keys()], [MAIN, PROTO]);
    assert.equal(framesOf(draw({ scroll: 18, height: 21 })).size, 6); // parts of three rows
    assert.deepEqual([...framesOf(draw({ topLevel: 3 })).keys()], [6, 5, 7]);
  });

  test("frames that are narrower than a pixel share it", () => {
    const count = 10_000;
    const children = Array.from({ length: count }, (_, i) => i);
    const wide = treeOf(
      {
        parent: [-1, ...children.map(() => 0)],
        function: [-1, ...children.map(() => 0)],
        values: [[count, ...children.map(() => 1)]],
      },
      functionsOf("f"),
    );
    const rects = draw({}, {}, wide).rects.slice(1);
    assert.ok(rects.length >= 900 && rects.length <= 1100, `${rects.length}`);
    for (const { width } of rects) assert.equal(width, 0.7);
    for (let i = 1; i < rects.length; i++) assert.ok(rects[i]!.x - rects[i - 1]!.x < 1.5);
  });

  test("frames without width are not drawn", () => {
    const tree = treeOf({ parent: [-1, 0, 0, 0], function: [-1, 0, 1, -2], values: [[10, 5, 0, 5]] });
    assert.deepEqual([...framesOf(draw({}, {}, tree)).keys()], [0, 1, 3]);
  });

  test("frames up to three pixels have no gap", () => {
    const tree = treeOf({ parent: [-1, 0, 0, 0], function: [-1, 0, 1, 2], values: [[1000, 4, 3, 2]] });
    const frames = framesOf(draw({}, {}, tree));
    assert.deepEqual(
      [1, 2, 3].map((node) => Math.round(frames.get(node)!.width!)),
      [3, 3, 2],
    );
  });

  test("the canvas has the pixels of the screen", () => {
    Object.assign(globalThis, { devicePixelRatio: 2 });
    const canvas = draw();
    assert.deepEqual([canvas.width, canvas.height, canvas.transform], [2000, 400, [2, 0, 0, 2, 0, 0]]);
    assert.equal(framesOf(canvas).get(MAIN)!.width, 899);
    Object.assign(globalThis, { devicePixelRatio: 1.5 });
    const { width, height } = draw({ width: 333, height: 111 });
    assert.deepEqual([width, height], [500, 167]);
  });

  test("the canvas is resized only if its size changes, because that clears it", () => {
    const canvas = draw();
    draw({ height: 100 }, {}, treeOf(), canvas);
    assert.deepEqual([canvas.width, canvas.height], [1000, 100]);
    draw({ width: 500, height: 100 }, {}, treeOf(), canvas);
    assert.deepEqual([canvas.width, canvas.height], [500, 100]);
    Object.defineProperty(canvas, "width", { set: () => assert.fail("resized"), get: () => 500 });
    draw({ width: 500, height: 100 }, {}, treeOf(), canvas);
  });
});

describe("texts", () => {
  test("names are in their frames", () => {
    const main = draw().texts.find(({ text }) => text === "main");
    assert.deepEqual(main, { text: "main", fill: "#16191d", alpha: 1, x: 4, y: 19 + 9.5 });
  });

  test("a frame has a text if three characters fit", () => {
    const widthOf = (characters: number): number => characters * CHARACTER_WIDTH + 8 + 1;
    const one = treeOf({ parent: [-1], function: [0], values: [[1]] }, functionsOf("function"));
    const texts = (width: number): (string | undefined)[] =>
      draw({ width }, {}, one).texts.map(({ text }) => text);
    assert.deepEqual(texts(widthOf(3) - 1), []);
    assert.deepEqual(texts(widthOf(3)), ["fu…"]);
    assert.deepEqual(texts(widthOf(8)), ["function"]);
  });
});

test("matching frames stand out", () => {
  const matches = Uint8Array.from(FUNCTIONS.name, (name) => (name === "a" ? 1 : 0));
  const canvas = draw({}, { matches });
  const matched = canvas.rects.filter(({ fill }) => fill === "match");
  assert.deepEqual(
    matched.map(({ x, alpha }) => [x, alpha]),
    [
      [500, 1],
      [600, 1],
    ],
  );
  const frames = framesOf(canvas);
  for (const node of [ALL, MAIN, B]) assert.equal(frames.get(node)!.alpha, 0.4);
  const fills = new Map(canvas.texts.map(({ text, fill, alpha }) => [text, [fill, alpha]]));
  assert.deepEqual(fills.get("a"), ["#16191d", 1]);
  assert.deepEqual(fills.get("main"), ["dimmed", 1]);
  assert.deepEqual(fills.get("all"), ["dimmed", 1]);
  assert.equal(canvas.globalAlpha, 1);
  const first = draw({}, { matches: Uint8Array.from([1, 0, 0, 0, 0]) });
  assert.equal(
    first.rects.findIndex(({ fill }) => fill === "match"),
    MAIN,
  );
});

test("a name is shortened to what fits", () => {
  assert.equal(fitText("runtime/pprof.Do", 16), "runtime/pprof.Do");
  assert.equal(fitText("runtime/pprof.Do", 15), "pprof.Do");
  assert.equal(fitText("runtime/pprof.Do", 8), "pprof.Do");
  assert.equal(fitText("runtime/pprof.Do", 7), "Do");
  assert.equal(fitText("example.org/shop.(*cart).priceAll", 12), "priceAll");
  assert.equal(fitText("example.org/shop.(*cart).priceAll", 5), "pric…");
  assert.equal(fitText("runtime", 5), "runt…");
});
