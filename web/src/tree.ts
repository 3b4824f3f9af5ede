// The tree that the server sends, laid out: where each frame lies between 0 and 1 on its level.

import type { Functions, Nodes } from "./api";
import { plain } from "./names";

export const ALL = -1;
export const OTHER = -2;

export class Tree {
  readonly count: number;
  readonly parent: number[];
  readonly fn: number[];
  readonly values: number[][];
  readonly totals: number[];
  readonly depth: Uint16Array;
  readonly left: Float64Array;
  readonly right: Float64Array;
  readonly self: Float64Array[];
  readonly levels: Int32Array[] = []; // the nodes of each level, from left to right
  readonly first: Int32Array; // of the children, in the order of their level
  readonly next: Int32Array; // the sibling to the right
  readonly previous: Int32Array;
  private readonly marks: Uint32Array;

  constructor(
    nodes: Nodes,
    private readonly functions: Functions,
    totals: number[],
    weigh: (values: number[]) => number,
  ) {
    this.count = nodes.parent.length;
    this.parent = nodes.parent;
    this.fn = nodes.function;
    this.values = nodes.values;
    this.totals = totals;
    this.depth = new Uint16Array(this.count);
    this.left = new Float64Array(this.count);
    this.right = new Float64Array(this.count);
    this.first = new Int32Array(this.count).fill(-1);
    this.next = new Int32Array(this.count).fill(-1);
    this.previous = new Int32Array(this.count).fill(-1);
    this.marks = new Uint32Array(this.count);
    this.self = nodes.values.map((column) => Float64Array.from(column));
    this.layOut(this.weights(weigh));
    this.mark();
  }

  name(node: number): string {
    const fn = this.fn[node]!;
    if (fn === ALL) return "all";
    return fn === OTHER ? "other" : plain(this.functions.name[fn]!);
  }

  // Stands for a frame in a URL: the same stack has the same mark in another merge.
  markOf(node: number): string {
    return this.marks[node]!.toString(36);
  }

  marked(mark: string): number {
    const wanted = parseInt(mark, 36);
    return mark ? Math.max(0, this.marks.indexOf(wanted)) : 0;
  }

  // The frame at a level and a place, or -1.
  at(level: number, place: number): number {
    const nodes = this.levels[level];
    if (!nodes) return -1;
    const index = this.from(level, place);
    const node = nodes[index];
    return node !== undefined && this.left[node]! <= place && place < this.right[node]! ? node : -1;
  }

  // Which of a level's nodes is the first that ends behind a place.
  from(level: number, place: number): number {
    const nodes = this.levels[level]!;
    let low = 0;
    let high = nodes.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.right[nodes[middle]!]! > place) high = middle;
      else low = middle + 1;
    }
    return low;
  }

  // What all frames of these functions have together, each stack counted once: of each profile.
  matched(wanted: Uint8Array): number[] {
    const inside = new Uint8Array(this.count);
    const sums = this.values.map(() => 0);
    for (let node = 1; node < this.count; node++) {
      const above = inside[this.parent[node]!]!;
      const hit = this.fn[node]! >= 0 && wanted[this.fn[node]!] ? 1 : 0;
      inside[node] = above | hit;
      if (hit && !above) this.values.forEach((column, side) => (sums[side]! += column[node]!));
    }
    return sums;
  }

  private weights(weigh: (values: number[]) => number): Float64Array {
    const weights = new Float64Array(this.count);
    const own = this.values.map(() => 0);
    for (let node = 0; node < this.count; node++) {
      this.values.forEach((column, side) => (own[side] = Math.max(0, column[node]!)));
      weights[node] = weigh(own);
    }
    return weights;
  }

  private layOut(weights: Float64Array): void {
    const below = new Float64Array(this.count); // the weight of all children
    const children: number[][] = [];
    for (let node = 1; node < this.count; node++) {
      const parent = this.parent[node]!;
      this.depth[node] = this.depth[parent]! + 1;
      below[parent]! += weights[node]!;
      (children[parent] ??= []).push(node);
      this.self.forEach((column, side) => (column[parent]! -= this.values[side]![node]!));
    }
    this.right[0] = 1;
    for (let level = [0]; level.length;) {
      this.levels.push(Int32Array.from(level));
      const lower: number[] = [];
      for (const node of level) {
        const inside = children[node];
        if (!inside) continue;
        inside.sort(
          (a, b) => Number(this.fn[a] === OTHER) - Number(this.fn[b] === OTHER) || weights[b]! - weights[a]!,
        );
        const scale = (this.right[node]! - this.left[node]!) / (Math.max(weights[node]!, below[node]!) || 1);
        let place = this.left[node]!;
        let before = -1;
        for (const child of inside) {
          this.left[child] = place;
          place = this.right[child] = place + weights[child]! * scale;
          this.previous[child] = before;
          if (before < 0) this.first[node] = child;
          else this.next[before] = child;
          before = child;
          lower.push(child);
        }
      }
      level = lower;
    }
  }

  private mark(): void {
    const names = this.functions.name.map(hash);
    this.marks[0] = 2166136261;
    for (let node = 1; node < this.count; node++) {
      const fn = this.fn[node]!;
      this.marks[node] = Math.imul(this.marks[this.parent[node]!]! ^ (fn < 0 ? 7 : names[fn]!), 16777619) >>> 0;
    }
  }
}

function hash(text: string): number {
  let sum = 2166136261;
  for (let i = 0; i < text.length; i++) sum = Math.imul(sum ^ text.charCodeAt(i), 16777619);
  return sum >>> 0;
}

// The functions that a search means: /a regular expression/, else a part of the name in any case.
export function searched(search: string, functions: Functions): Uint8Array {
  const wanted = new Uint8Array(functions.name.length);
  const test = tester(search);
  if (test) functions.name.forEach((name, i) => (wanted[i] = test(plain(name)) ? 1 : 0));
  return wanted;
}

function tester(search: string): ((name: string) => boolean) | null {
  if (!search) return null;
  const pattern = /^\/(.+)\/$/.exec(search);
  if (pattern) {
    try {
      const compiled = new RegExp(pattern[1]!, "i");
      return (name) => compiled.test(name);
    } catch {
      // not yet one, while it is typed
    }
  }
  const wanted = search.toLowerCase();
  return (name) => name.toLowerCase().includes(wanted);
}
