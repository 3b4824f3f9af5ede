import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { changeColor, colorByChange, colorByPackage, colorPlain } from "../src/colors";
import { ALL, functionsOf, MAIN, OTHER_NODE, treeOf } from "./fixtures";

const TEXT = "#16191d"; // of draw.ts

interface Hsl {
  hue: number;
  saturation: number;
  lightness: number;
}

function parse(color: string): Hsl {
  const [hue, saturation, lightness] = /^hsl\((\d+) (\d+)% ([\d.]+)%\)$/.exec(color)!.slice(1).map(Number);
  return { hue: hue!, saturation: saturation!, lightness: lightness! };
}

function luminance(red: number, green: number, blue: number): number {
  const linear = (c: number): number => (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
  return 0.2126 * linear(red) + 0.7152 * linear(green) + 0.0722 * linear(blue);
}

// WCAG's contrast with the text of frames.
function contrast(color: string): number {
  const { hue, saturation, lightness } = parse(color);
  const [s, l] = [saturation / 100, lightness / 100];
  const channel = (n: number): number => {
    const k = (n + hue / 30) % 12;
    return l - s * Math.min(l, 1 - l) * Math.max(-1, Math.min(k - 3, 9 - k, 1));
  };
  const text = [1, 3, 5].map((i) => parseInt(TEXT.slice(i, i + 2), 16) / 255) as [number, number, number];
  return (luminance(channel(0), channel(8), channel(4)) + 0.05) / (luminance(...text) + 0.05);
}

const NAMES = Array.from({ length: 2000 }, (_, i) => `example.org/p${i}.F`);

describe("packages", () => {
  const names = [
    "main.a",
    "main.b",
    "runtime.mallocgc",
    "runtime/pprof.Do",
    "[kernel]",
    "runtimes.x",
    "other/main.a",
  ];
  const nodes = {
    parent: [-1, 0, 0, 0, 0, 0, 0, 0],
    function: [-1, 0, 1, 2, 3, 4, 5, 6],
    values: [[8, 1, 1, 1, 1, 1, 1, 1]],
  };
  const tree = treeOf(nodes, functionsOf(...names));
  const color = colorByPackage(tree, functionsOf(...names), false);

  test("functions of a package have its color", () => {
    assert.equal(color(1), color(2));
    assert.notEqual(color(1), color(7));
  });

  test("the runtime and the kernel are gray", () => {
    for (const dark of [false, true]) {
      const color = colorByPackage(tree, functionsOf(...names), dark);
      assert.deepEqual([color(4), color(5)], [color(3), color(3)]);
      assert.ok(parse(color(3)).saturation < 20);
      assert.ok(parse(color(6)).saturation > 40);
    }
  });

  test("a package has its color in any profile", () => {
    const other = treeOf({ parent: [-1, 0], function: [-1, 0], values: [[1, 1]] }, functionsOf("main.z"));
    assert.equal(colorByPackage(other, functionsOf(...["main.z"]), false)(1), color(1));
  });

  test("names of an object's properties are packages like others", () => {
    const functions = ["__proto__.x", "constructor.y"];
    const special = treeOf(
      { parent: [-1, 0, 0], function: [-1, 0, 1], values: [[2, 1, 1]] },
      functionsOf(...functions),
    );
    assert.ok(contrast(colorByPackage(special, functionsOf(...functions), false)(1)) >= 4.5);
  });

  test("there are many colors", () => {
    const wide = treeOf(
      {
        parent: [-1, ...NAMES.map(() => 0)],
        function: [-1, ...NAMES.keys()],
        values: [[1, ...NAMES.map(() => 1)]],
      },
      functionsOf(...NAMES),
    );
    for (const dark of [false, true]) {
      const of = colorByPackage(wide, functionsOf(...NAMES), dark);
      assert.equal(new Set(NAMES.map((_, i) => of(i + 1))).size, 15 * 5);
    }
  });
});

test("plain frames have one color, the root and folded frames have others", () => {
  const tree = treeOf();
  for (const dark of [false, true]) {
    for (const color of [
      colorPlain(tree, dark),
      colorByPackage(tree, functionsOf(...["main", "a", "b", "leaf", "__proto__"]), dark),
    ]) {
      assert.equal(new Set([ALL, OTHER_NODE, MAIN].map(color)).size, 3);
    }
    const color = colorPlain(tree, dark);
    assert.equal(new Set([1, 2, 3, 5, 6, 7, 8].map(color)).size, 1);
  }
});

describe("changes", () => {
  test("growth is red and shrinkage green; safe for color-blind people, orange and blue", () => {
    const hues = (safe: boolean): number[] => [-1, 1].map((change) => parse(changeColor(change, safe, false)).hue);
    assert.deepEqual(hues(false), [142, 6]);
    assert.deepEqual(hues(true), [214, 30]);
  });

  test("safe colors are equally strong in both directions", () => {
    const strengths = [-1, 1].map((change) => parse(changeColor(change, true, false)).saturation);
    assert.equal(strengths[0], strengths[1]);
  });

  test("the larger the change, the more color", () => {
    for (const safe of [false, true]) {
      for (const sign of [-1, 1]) {
        for (const dark of [false, true]) {
          const colors = [0, 0.1, 0.5, 1].map((size) => parse(changeColor(sign * size, safe, dark)));
          for (let i = 1; i < colors.length; i++) {
            assert.ok(colors[i]!.saturation > colors[i - 1]!.saturation);
            assert.ok(colors[i]!.lightness < colors[i - 1]!.lightness);
          }
          assert.ok(colors[0]!.saturation < 5 && colors.at(-1)!.saturation > 30);
        }
      }
    }
  });

  test("a node has the color of its change, in steps of a tenth", () => {
    const color = colorByChange((node) => [-1, -0.52, 0, 0.96, 7, -7][node]!, false, false);
    assert.deepEqual(
      [0, 1, 2, 3, 4, 5].map(color),
      [-1, -0.5, 0, 1, 1, -1].map((change) => changeColor(change, false, false)),
    );
  });
});

test("text has a contrast of at least 4.5 on every color", () => {
  const tree = treeOf(
    {
      parent: [-1, ...NAMES.map(() => 0), 0],
      function: [-1, ...NAMES.keys(), -2],
      values: [[1, ...NAMES.map(() => 1), 1]],
    },
    functionsOf(...NAMES),
  );
  for (const dark of [false, true]) {
    const colors = new Set<string>();
    for (const paint of [colorByPackage(tree, functionsOf(...NAMES), dark), colorPlain(tree, dark)]) {
      for (let node = 0; node < tree.count; node++) colors.add(paint(node));
    }
    for (const safe of [false, true]) {
      for (let change = -1; change <= 1; change += 0.05) colors.add(changeColor(change, safe, dark));
    }
    for (const color of colors) assert.ok(contrast(color) >= 4.5, `${color}: ${contrast(color)}`);
  }
});
