// A call tree as the server sends it, laid out as a flame graph.

import type { Functions, Nodes } from "./api";
import { displayName } from "./names";

// Negative values of Nodes.function.
export const ROOT = -1;
export const OTHER = -2; // small frames that the server folded into one

const FNV_OFFSET = 2166136261;
const FNV_PRIME = 16777619;

// A node is its index in the server's list; node 0 is the root. Positions and widths are fractions of the root's width.
export class Tree {
  readonly count: number;
  readonly parent: number[];
  readonly fn: number[]; // an index of functions, ROOT or OTHER
  readonly values: number[][]; // by side (the comparison, then the base), then by node
  readonly totals: number[]; // by side
  readonly depth: Uint16Array;
  readonly left: Float64Array;
  readonly right: Float64Array;
  readonly self: Float64Array[]; // as values, without callees
  readonly levels: Int32Array[] = []; // the nodes of each level, from left to right
  readonly firstChild: Int32Array; // -1 for none, as the next two
  readonly next: Int32Array; // the sibling to the right
  readonly previous: Int32Array; // the sibling to the left
  private readonly stackHashes: Uint32Array;

  // *weigh* returns the width of a node from its values by side.
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
    this.firstChild = new Int32Array(this.count).fill(-1);
    this.next = new Int32Array(this.count).fill(-1);
    this.previous = new Int32Array(this.count).fill(-1);
    this.stackHashes = this.hashStacks();
    this.self = nodes.values.map((column) => Float64Array.from(column));
    this.layOut(this.weights(weigh));
  }

  nameOf(node: number): string {
    const fn = this.fn[node]!;
    if (fn === ROOT) return "all";
    return fn === OTHER ? "other" : displayName(this.functions.name[fn]!);
  }

  // Returns an id for the node's stack. The same stack has the same id in other merges, so that URLs can hold it.
  stackId(node: number): string {
    return this.stackHashes[node]!.toString(36);
  }

  // Returns the node with that id, or the root.
  findStack(stackId: string): number {
    return stackId ? Math.max(0, this.stackHashes.indexOf(parseInt(stackId, 36))) : 0;
  }

  // Returns the node or, if one side of a comparison lacks it, the closest ancestor that has a width.
  widestAncestor(node: number): number {
    while (node > 0 && this.right[node]! <= this.left[node]!) node = this.parent[node]!;
    return node;
  }

  // Returns the node at a level and a position, or -1.
  nodeAt(level: number, position: number): number {
    const node = this.levels[level]?.[this.firstEndingAfter(level, position)];
    return node !== undefined && this.left[node]! <= position ? node : -1;
  }

  // Returns the index, within its level, of the first node that ends to the right of a position.
  firstEndingAfter(level: number, position: number): number {
    const nodes = this.levels[level]!;
    let low = 0;
    let high = nodes.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.right[nodes[middle]!]! > position) high = middle;
      else low = middle + 1;
    }
    return low;
  }

  // Returns the total of all frames of the matching functions, by side. A recursive function counts once per stack.
  matchedTotals(matches: Uint8Array): number[] {
    const within = new Uint8Array(this.count); // whether the node or a caller matches
    const sums = this.values.map(() => 0);
    for (let node = 1; node < this.count; node++) {
      const fn = this.fn[node]!;
      const callerMatches = within[this.parent[node]!]!;
      within[node] = callerMatches || (fn >= 0 ? matches[fn]! : 0);
      if (within[node] && !callerMatches) this.values.forEach((column, side) => (sums[side]! += column[node]!));
    }
    return sums;
  }

  // Returns the self and total values of functions within a node, by side and function. A recursive function counts
  // once per stack.
  functionsWithin(root: number): { flat: number[][]; cum: number[][] } {
    const zeros = (): number[][] => this.values.map(() => this.functions.name.map(() => 0));
    const [flat, cum] = [zeros(), zeros()];
    const depths = new Uint32Array(this.functions.name.length); // how often a function is on the current stack
    for (let node = root, entering = true; ;) {
      const fn = this.fn[node]!;
      if (entering && fn >= 0) {
        const isFirst = depths[fn]!++ === 0;
        this.values.forEach((column, side) => {
          flat[side]![fn]! += this.self[side]![node]!;
          if (isFirst) cum[side]![fn]! += column[node]!;
        });
      }
      if (entering && this.firstChild[node]! >= 0) {
        node = this.firstChild[node]!;
        continue;
      }
      if (fn >= 0) depths[fn]!--;
      if (node === root) return { flat, cum };
      entering = this.next[node]! >= 0;
      node = entering ? this.next[node]! : this.parent[node]!;
    }
  }

  private weights(weigh: (values: number[]) => number): Float64Array {
    const weights = new Float64Array(this.count);
    const values = this.values.map(() => 0);
    for (let node = 0; node < this.count; node++) {
      this.values.forEach((column, side) => (values[side] = Math.max(0, column[node]!)));
      weights[node] = weigh(values);
    }
    return weights;
  }

  // Places the children of each node side by side, widest first, "other" last.
  private layOut(weights: Float64Array): void {
    const childWeights = new Float64Array(this.count); // of all children of a node
    const children: number[][] = [];
    for (let node = 1; node < this.count; node++) {
      const parent = this.parent[node]!;
      this.depth[node] = this.depth[parent]! + 1;
      childWeights[parent]! += weights[node]!;
      (children[parent] ??= []).push(node);
      this.self.forEach((column, side) => (column[parent]! -= this.values[side]![node]!));
    }
    this.right[0] = 1;
    for (let level = [0]; level.length;) {
      this.levels.push(Int32Array.from(level));
      const lower: number[] = [];
      for (const node of level) {
        const siblings = children[node];
        if (!siblings) continue;
        siblings.sort(
          (a, b) => Number(this.fn[a] === OTHER) - Number(this.fn[b] === OTHER) || weights[b]! - weights[a]!,
        );
        // With negative values, children can weigh more than their parent; they still fit into it.
        const scale =
          (this.right[node]! - this.left[node]!) / (Math.max(weights[node]!, childWeights[node]!) || 1);
        let position = this.left[node]!;
        let previous = -1;
        for (const child of siblings) {
          this.left[child] = position;
          position += weights[child]! * scale;
          this.right[child] = position;
          this.previous[child] = previous;
          if (previous < 0) this.firstChild[node] = child;
          else this.next[previous] = child;
          previous = child;
          lower.push(child);
        }
      }
      level = lower;
    }
  }

  private hashStacks(): Uint32Array {
    const nameHashes = this.functions.name.map(fnv1a);
    const hashes = new Uint32Array(this.count);
    hashes[0] = FNV_OFFSET;
    for (let node = 1; node < this.count; node++) {
      const fn = this.fn[node]!;
      const callerHash = hashes[this.parent[node]!]!;
      hashes[node] = Math.imul(callerHash ^ (fn < 0 ? 7 : nameHashes[fn]!), FNV_PRIME) >>> 0;
    }
    return hashes;
  }
}

function fnv1a(text: string): number {
  let hash = FNV_OFFSET;
  for (let i = 0; i < text.length; i++) hash = Math.imul(hash ^ text.charCodeAt(i), FNV_PRIME);
  return hash >>> 0;
}

// Returns 1 for each function that a search matches, as /regex/ or as a substring; null without a search. Case is ignored.
export function matchFunctions(search: string, functions: Functions): Uint8Array | null {
  if (!search) return null;
  const matches = compileSearch(search);
  return Uint8Array.from(functions.name, (name) => (matches(displayName(name)) ? 1 : 0));
}

// Returns why the regular expression in a search is invalid, or an empty text.
export function searchError(search: string): string {
  const regex = compileRegex(search);
  return regex instanceof SyntaxError ? regex.message.replace(/^Invalid regular expression: /, "") : "";
}

function compileRegex(search: string): RegExp | SyntaxError | null {
  const source = /^\/(.+)\/$/.exec(search)?.[1];
  if (source === undefined) return null;
  try {
    return new RegExp(source, "i");
  } catch (error) {
    return error as SyntaxError;
  }
}

function compileSearch(search: string): (name: string) => boolean {
  const regex = compileRegex(search);
  if (regex instanceof RegExp) return (name) => regex.test(name);
  // An incomplete regex, while it is typed, is searched for as text.
  const lower = search.toLowerCase();
  return (name) => name.toLowerCase().includes(lower);
}
