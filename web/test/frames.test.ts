import assert from "node:assert/strict";
import { describe, test } from "node:test";
import {
  describeFrame,
  differenceOf,
  formatDifference,
  relativeChange,
  sourceLocation,
  type ValueContext,
} from "../src/frames";
import { A, FUNCTIONS, NODES, treeOf } from "./fixtures";

function contextOf(totals: number[], absolute = false): ValueContext {
  return { functions: FUNCTIONS, totals, sampleType: { type: "cpu", unit: "nanoseconds" }, absolute };
}

describe("a difference", () => {
  test("is of fractions of each side's total", () => {
    assert.equal(differenceOf([30, 20], contextOf([100, 40])), -0.2);
    assert.equal(formatDifference([30, 20], contextOf([100, 40])), "−20.0%");
    assert.equal(formatDifference([30, 20], contextOf([100, 400])), "+25.0%");
  });
  test("or of values", () => {
    assert.equal(differenceOf([30, 20], contextOf([100, 40], true)), 10);
    assert.equal(formatDifference([30, 20], contextOf([100, 40], true)), "+10 ns");
    assert.equal(formatDifference([20, 30], contextOf([100, 40], true)), "−10 ns");
  });
});

test("a relative change is from -1 for a frame that is gone to 1 for a new one", () => {
  const context = contextOf([100, 100]);
  const changes = [
    [5, 0],
    [0, 5],
    [5, 5],
    [10, 5],
    [5, 10],
    [0, 0],
  ].map((values) => relativeChange(values, context));
  assert.deepEqual(changes, [1, -1, 0, 0.5, -0.5, 0]);
  assert.equal(relativeChange([10, 10], contextOf([100, 50])), -0.5);
  assert.equal(relativeChange([10, 10], contextOf([100, 50], true)), 0);
  assert.equal(relativeChange([5, -10], contextOf([100, 100], true)), 1.5); // a negative base
});

test("a source location has what the profile knows", () => {
  const functions = { ...FUNCTIONS, file: ["main.go", "a\u202e.go", "", "leaf.go", ""], line: [7, 8, 9, 0, 0] };
  assert.deepEqual(
    [0, 1, 2, 3, 4, -1, -2].map((fn) => sourceLocation(fn, functions)),
    ["main.go:7", "a\ufffd.go:8", "", "leaf.go", "", "", ""],
  );
});

test("a frame is described in a sentence", () => {
  assert.equal(describeFrame(treeOf(), A, contextOf([100])), "a, 30 ns, 30.0%");
  const both = treeOf({ ...NODES, values: [NODES.values[0]!, NODES.values[0]!.map((value) => value / 2)] });
  assert.equal(describeFrame(both, A, contextOf([100, 50])), "a, comparison 30 ns, 30.0%, base 15 ns, 30.0%");
});
