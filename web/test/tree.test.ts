import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { matchFunctions, searchError, OTHER, ROOT } from "../src/tree";
import {
  A,
  A_A,
  A_LEAF,
  ALL,
  B,
  B_LEAF,
  FUNCTIONS,
  functionsOf,
  MAIN,
  NODES,
  OTHER_NODE,
  PROTO,
  treeOf,
} from "./fixtures";

const close = (actual: number, expected: number): void =>
  assert.ok(Math.abs(actual - expected) < 1e-9, `${actual} is not ${expected}`);

describe("layout", () => {
  const tree = treeOf();

  test("levels hold nodes from left to right: widest first, other last", () => {
    assert.deepEqual(
      tree.levels.map((level) => [...level]),
      [[ALL], [MAIN, PROTO], [B, A, OTHER_NODE], [B_LEAF, A_LEAF, A_A]],
    );
    assert.deepEqual([...tree.depth], [0, 1, 2, 2, 2, 3, 3, 3, 1]);
  });

  test("other is last even if it is the widest", () => {
    const values = [[100, 90, 30, 5, 50, 10, 2, 5, 10]];
    assert.deepEqual([...treeOf({ ...NODES, values }).levels[2]!], [A, B, OTHER_NODE]);
    const first = { parent: [-1, 0, 0, 0], function: [-1, OTHER, 0, 1], values: [[9, 5, 1, 3]] };
    assert.deepEqual([...treeOf(first).levels[1]!], [3, 2, 1]);
  });

  test("a frame is as wide as its part of the root, and begins where its left sibling ends", () => {
    close(tree.left[ALL]!, 0);
    close(tree.right[ALL]!, 1);
    close(tree.left[MAIN]!, 0);
    close(tree.right[MAIN]!, 0.9);
    close(tree.left[PROTO]!, 0.9);
    close(tree.right[PROTO]!, 1);
    close(tree.left[B]!, 0);
    close(tree.left[A]!, 0.5);
    close(tree.right[A]!, 0.8);
    close(tree.left[A_LEAF]!, 0.5);
    close(tree.right[A_LEAF]!, 0.6);
    close(tree.right[A_A]!, 0.65);
  });

  test("children do not fill a parent that has a value of its own", () => {
    const tree = treeOf({ parent: [-1, 0], function: [-1, 0], values: [[100, 40]] });
    close(tree.right[1]!, 0.4);
  });

  test("self is the value without callees, by side", () => {
    assert.deepEqual([...tree.self[0]!], [0, 6, 15, 30, 4, 10, 20, 5, 10]);
    const both = treeOf({ ...NODES, values: [NODES.values[0]!, [50, 45, 15, 25, 2, 5, 10, 2, 5]] });
    assert.deepEqual([...both.self[1]!], [0, 3, 8, 15, 2, 5, 10, 2, 5]);
    assert.deepEqual([...both.self[0]!], [...tree.self[0]!]);
  });

  test("the values of the tree stay as they are", () => {
    assert.deepEqual(tree.values, [[100, 90, 30, 50, 4, 10, 20, 5, 10]]);
  });

  test("links lead to the children and siblings", () => {
    assert.deepEqual([tree.firstChild[ALL], tree.firstChild[MAIN], tree.firstChild[B_LEAF]], [MAIN, B, -1]);
    assert.deepEqual([tree.next[B], tree.next[A], tree.next[OTHER_NODE]], [A, OTHER_NODE, -1]);
    assert.deepEqual([tree.previous[OTHER_NODE], tree.previous[A], tree.previous[B]], [A, B, -1]);
    assert.deepEqual([tree.previous[ALL], tree.next[ALL]], [-1, -1]);
  });

  test("children that weigh more than their parent fit into it, negative ones have no width", () => {
    const nodes = { parent: [-1, 0, 0, 0], function: [-1, 0, 1, 2], values: [[10, 30, -25, 10]] };
    const negative = treeOf(nodes);
    close(negative.right[1]!, 0.75);
    close(negative.right[3]!, 1);
    close(negative.right[2]! - negative.left[2]!, 0);
    assert.equal(negative.self[0]![0], -5);
  });

  test("a tree without values has no width and no NaN", () => {
    const empty = treeOf({ parent: [-1, 0], function: [-1, 0], values: [[0, 0]] });
    assert.deepEqual([empty.left[1], empty.right[1]], [0, 0]);
  });
});

test("nodeAt finds the node at a position, and none between frames", () => {
  const tree = treeOf();
  assert.equal(tree.nodeAt(0, 0.99), ALL);
  assert.equal(tree.nodeAt(1, 0), MAIN);
  assert.equal(tree.nodeAt(1, 0.95), PROTO);
  assert.equal(tree.nodeAt(2, 0.6), A);
  assert.equal(tree.nodeAt(3, 0.1), B_LEAF);
  assert.equal(tree.nodeAt(3, 0.3), -1); // between the leaf of b and that of a
  assert.equal(tree.nodeAt(2, 0.5), A); // a frame includes its left edge
  assert.equal(tree.nodeAt(1, 1), -1); // and excludes its right edge
  assert.equal(tree.nodeAt(4, 0.1), -1);
  assert.equal(tree.nodeAt(-1, 0.1), -1);
});

test("firstEndingAfter finds the first visible node of a level", () => {
  const tree = treeOf();
  assert.deepEqual(
    [0, 0.1, 0.2, 0.55, 0.65].map((position) => tree.firstEndingAfter(3, position)),
    [0, 0, 1, 1, 3],
  );
});

test("names are sanitized, and those of the root and of folded frames are fixed", () => {
  const tree = treeOf(NODES, functionsOf("ma\u202ein", "a", "b", "leaf", "__proto__"));
  assert.equal(tree.nameOf(MAIN), "ma\ufffdin");
  assert.equal(tree.nameOf(PROTO), "__proto__");
  assert.equal(tree.nameOf(ALL), "all");
  assert.equal(tree.nameOf(OTHER_NODE), "other");
  assert.deepEqual([tree.fn[ALL], tree.fn[OTHER_NODE]], [ROOT, OTHER]);
});

describe("stack ids", () => {
  test("each node is found by its id", () => {
    const tree = treeOf();
    for (let node = 0; node < tree.count; node++) assert.equal(tree.findStack(tree.stackId(node)), node);
  });

  test("a stack has the same id in another merge, whatever the order of nodes and functions", () => {
    const tree = treeOf();
    const other = treeOf(
      { parent: [-1, 0, 1, 2], function: [-1, 2, 1, 0], values: [[7, 7, 7, 7]] },
      functionsOf("leaf", "a", "main"),
    );
    assert.equal(other.stackId(3), tree.stackId(A_LEAF));
    assert.notEqual(other.stackId(3), tree.stackId(B_LEAF)); // the same function in another stack
  });

  test("ids do not change between versions of the page: links hold them", () => {
    const tree = treeOf();
    assert.deepEqual(
      [MAIN, A_LEAF, OTHER_NODE].map((node) => tree.stackId(node)),
      ["7jgibb", "6xl83g", "xbz4sw"],
    );
  });

  test("an unknown, malformed or empty id is the root", () => {
    for (const id of ["zzzz", "!", ""]) assert.equal(treeOf().findStack(id), ALL);
  });
});

describe("matchedTotals", () => {
  const tree = treeOf();
  const total = (...fns: number[]): number[] =>
    tree.matchedTotals(Uint8Array.from(FUNCTIONS.name, (_, fn) => (fns.includes(fn) ? 1 : 0)));

  test("adds up all frames of a function", () => assert.deepEqual(total(3), [30]));
  test("counts a recursive function once", () => assert.deepEqual(total(1), [30]));
  test("counts a match below another match once", () => assert.deepEqual(total(0, 3), [90]));
  test("is zero without matches", () => assert.deepEqual(total(), [0]));
  test("is by side", () => {
    const both = treeOf({ ...NODES, values: [NODES.values[0]!, NODES.values[0]!.map((value) => 2 * value)] });
    assert.deepEqual(both.matchedTotals(Uint8Array.from([0, 0, 0, 1, 0])), [30, 60]);
  });
});

test("a frame that one side lacks is shown as its widest ancestor", () => {
  const values = NODES.values[0]!.map((value, node) =>
    node === A || node === A_LEAF || node === A_A ? 0 : value,
  );
  const tree = treeOf({ ...NODES, values: [values] });
  assert.equal(tree.widestAncestor(A_LEAF), MAIN);
  assert.equal(tree.widestAncestor(B_LEAF), B_LEAF);
});

describe("functionsWithin", () => {
  const tree = treeOf();
  const within = (node: number): number[][] => {
    const { flat, cum } = tree.functionsWithin(node);
    return [flat[0]!, cum[0]!];
  };

  test("the root are those of the tree: recursive functions count once", () => {
    assert.deepEqual(within(ALL), [
      [6, 20, 30, 30, 10],
      [90, 30, 50, 30, 10],
    ]);
  });
  test("a frame are those below it", () => {
    assert.deepEqual(within(A), [
      [0, 20, 0, 10, 0],
      [0, 30, 0, 10, 0],
    ]);
    assert.deepEqual(within(B_LEAF), [
      [0, 0, 0, 20, 0],
      [0, 0, 0, 20, 0],
    ]);
  });
  test("the folded frames are none", () => assert.deepEqual(within(OTHER_NODE)[1], [0, 0, 0, 0, 0]));
});

describe("matchFunctions", () => {
  const functions = functionsOf("main.Price", "main.price.func1", "runtime.main", "a\u200bb", "x(y");
  const matches = (search: string): number[] => [...matchFunctions(search, functions)!];

  test("is null without a search", () => assert.equal(matchFunctions("", functions), null));
  test("finds a substring in any case", () => assert.deepEqual(matches("PRICE"), [1, 1, 0, 0, 0]));
  test("takes text between slashes for a regex", () => {
    assert.deepEqual(matches("/^main\\.PRICE$/"), [1, 0, 0, 0, 0]);
    assert.deepEqual(matches("^main"), [0, 0, 0, 0, 0]);
    assert.deepEqual(matches("/main"), [0, 0, 0, 0, 0]);
  });
  test("takes an incomplete regex for text, and says so", () => {
    assert.deepEqual(matches("/(/"), [0, 0, 0, 0, 0]);
    assert.match(searchError("/(/"), /group/);
    for (const search of ["", "(", "/", "//", "/a/"]) assert.equal(searchError(search), "");
  });
  test("takes special characters for text", () => assert.deepEqual(matches("x("), [0, 0, 0, 0, 1]));
  test("sees names as they are shown", () => assert.deepEqual(matches("a\ufffdb"), [0, 0, 0, 1, 0]));
});
