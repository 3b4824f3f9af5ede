// What is said of a frame or a function: its values, its share, where it stands in the source.

import type { Functions, SampleType } from "./api";
import { plain } from "./names";
import { ALL, OTHER, type Tree } from "./tree";
import { percent, share, shownValue, signedValue } from "./units";

export interface Side {
  functions: Functions;
  totals: number[];
  sample: SampleType;
  absolute: boolean;
}

// How a value changed against the base, in shares of each or as it is.
export function changeOf(values: readonly number[], side: Side): number {
  const [now, before] = [values[0]!, values[1]!];
  return side.absolute ? now - before : share(now, side.totals[0]!) - share(before, side.totals[1]!);
}

// The same from -1 to 1, relative to the larger of the two.
export function relativeChange(values: readonly number[], side: Side): number {
  const now = side.absolute ? values[0]! : share(values[0]!, side.totals[0]!);
  const before = side.absolute ? values[1]! : share(values[1]!, side.totals[1]!);
  return (now - before) / (Math.max(Math.abs(now), Math.abs(before)) || 1);
}

export function shownChange(values: readonly number[], side: Side): string {
  const change = changeOf(values, side);
  return side.absolute ? signedValue(change, side.sample.unit) : percent(change, true);
}

export function place(fn: number, functions: Functions): string {
  const file = fn < 0 ? "" : plain(functions.file[fn]!);
  const line = fn < 0 ? 0 : functions.line[fn]!;
  return file && line ? `${file}:${line}` : file;
}

export function shownFrame(tree: Tree, node: number, side: Side) {
  const fn = tree.fn[node]!;
  const unit = side.sample.unit;
  const rows = side.totals.map((total, i) => {
    const value = tree.values[i]![node]!;
    const self = tree.self[i]![node]!;
    return { value, self, total };
  });
  const both = rows.length > 1;
  return (
    <dl class="facts">
      <dt class="name" dir="auto">
        {tree.name(node)}
      </dt>
      {fn === OTHER && <dd class="where">small frames, folded into one</dd>}
      {place(fn, side.functions) && (
        <dd class="where" dir="auto">
          {place(fn, side.functions)}
        </dd>
      )}
      {rows.map(({ value, self, total }, i) => (
        <dd key={i} class="numbers">
          {both && <span class="which">{i ? "base" : "now"}</span>}
          <span>
            total <b>{shownValue(value, unit)}</b> {percent(share(value, total))}
          </span>
          {fn !== ALL && fn !== OTHER && (
            <span>
              self <b>{shownValue(self, unit)}</b> {percent(share(self, total))}
            </span>
          )}
        </dd>
      ))}
      {both && (
        <dd class="numbers">
          <span class="which">change</span>
          <b>{shownChange([rows[0]!.value, rows[1]!.value], side)}</b>
        </dd>
      )}
    </dl>
  );
}

// The same in a sentence, for those who listen.
export function spokenFrame(tree: Tree, node: number, side: Side): string {
  const parts = [tree.name(node).slice(0, 120)];
  side.totals.forEach((total, i) => {
    const value = tree.values[i]![node]!;
    const which = side.totals.length > 1 ? (i ? "base " : "now ") : "";
    parts.push(`${which}${shownValue(value, side.sample.unit)}, ${percent(share(value, total))}`);
  });
  return parts.join(", ");
}
