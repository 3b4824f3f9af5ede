import assert from "node:assert/strict";
import { test } from "node:test";
import type { FlameGraphData } from "../src/api";
import { describeSelection } from "../src/captions";
import { DEFAULT_STATE, type State } from "../src/state";
import { functionsOf, NODES } from "./fixtures";

const NOON = Date.UTC(2026, 10, 23, 12) / 1000;
const STATE: State = {
  ...DEFAULT_STATE,
  service: "shop\u202e",
  profileType: "cpu",
  labels: [{ key: "version", op: "=", value: "0.0.2" }],
  refinements: { ignore: "sign" },
};

function dataOf(...totals: number[]): FlameGraphData {
  return {
    sample_type: { type: "cpu", unit: "nanoseconds" },
    sample_types: [],
    totals,
    functions: functionsOf(),
    nodes: NODES,
    profiles: totals.map(() => ({ found: 6, merged: 6, expired: 0, aggregate: "sum of 6 profiles" })),
  };
}

test("an image says what it shows", () => {
  assert.deepEqual(describeSelection(STATE, dataOf(3e9), NOON), [
    "shop\ufffd cpu cpu ignore=sign",
    "3 s, sum of 6 profiles, 2026-11-23T11:00:00 to 2026-11-23T12:00:00 UTC, version=0.0.2",
  ]);
});

test("an image of a comparison says what both sides are", () => {
  const baseSelection = { from: "2026-11-23T11:00:00", to: "2026-11-23T11:30:00" };
  const state = { ...STATE, refinements: {}, focus: "main.f", baseSelection };
  assert.deepEqual(describeSelection(state, dataOf(3e9, 2e9), NOON), [
    "shop\ufffd cpu cpu function main.f",
    "comparison: 3 s, sum of 6 profiles, 2026-11-23T11:00:00 to 2026-11-23T12:00:00 UTC, version=0.0.2",
    "base: 2 s, sum of 6 profiles, 2026-11-23T11:00:00 to 2026-11-23T11:30:00 UTC",
  ]);
});
