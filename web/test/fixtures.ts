import type { Functions, Nodes, Series } from "../src/api";
import { Tree } from "../src/tree";

export function functionsOf(...names: string[]): Functions {
  const zeros = names.map(() => 0);
  return { name: names, file: names.map(() => ""), line: zeros, flat: [zeros], cum: [zeros], count: names.length };
}

// Functions 0 to 4 of the tree below.
export const FUNCTIONS = functionsOf("main", "a", "b", "leaf", "__proto__");

// all 100 ─ main 90 ┬ b 50 ─ leaf 20
//         │         ├ a 30 ┬ leaf 10
//         │         │      └ a 5
//         │         └ other 4
//         └ __proto__ 10
export const NODES: Nodes = {
  parent: [-1, 0, 1, 1, 1, 2, 3, 2, 0],
  function: [-1, 0, 1, 2, -2, 3, 3, 1, 4],
  values: [[100, 90, 30, 50, 4, 10, 20, 5, 10]],
};

// Nodes of the tree above.
export const [ALL, MAIN, A, B, OTHER_NODE, A_LEAF, B_LEAF, A_A, PROTO] = [0, 1, 2, 3, 4, 5, 6, 7, 8] as const;

export function treeOf(nodes: Nodes = NODES, functions: Functions = FUNCTIONS): Tree {
  const totals = nodes.values.map((column) => column[0]!);
  return new Tree(nodes, functions, totals, (values) => values.reduce((a, b) => a + b, 0));
}

// Ten steps of a minute from 12:00, with a value in each of *values*.
export function seriesOf(...groups: number[][]): Series {
  return {
    start: "2026-11-23T12:00:00",
    step: 60,
    sample_types: [{ type: "cpu", unit: "nanoseconds" }],
    aggregates: ["sum"],
    groups: groups.map((values, i) => ({
      labels: [{ key: "version", value: `0.0.${i}` }],
      profiles: values.map((value) => (value ? 1 : 0)),
      values: [values],
    })),
  };
}
