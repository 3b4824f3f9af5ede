// Descriptions of frames and functions: values, percentages, changes, source locations.

import type { Functions, SampleType } from "./api";
import { displayName, sanitize } from "./names";
import { OTHER, ROOT, type Tree } from "./tree";
import { formatPercent, formatSigned, formatValue, fraction } from "./units";

// The context in which values are shown. Lists by side hold the comparison, then the base if there is one.
export interface ValueContext {
  functions: Functions;
  totals: number[]; // by side
  sampleType: SampleType;
  absolute: boolean; // diff values instead of percentages
}

const MAX_TOOLTIP = 1000; // characters

export const SIDE_NAMES = ["comparison", "base"];

// Returns how much a value differs from the base: as a value, or as a fraction of each side's total.
export function differenceOf(values: readonly number[], context: ValueContext): number {
  const [comparison, base] = comparable(values, context);
  return comparison - base;
}

// Returns the change from -1 (gone) to 1 (new), relative to the larger of the two values.
export function relativeChange(values: readonly number[], context: ValueContext): number {
  const [comparison, base] = comparable(values, context);
  return (comparison - base) / (Math.max(Math.abs(comparison), Math.abs(base)) || 1);
}

export function formatDifference(values: readonly number[], context: ValueContext): string {
  const difference = differenceOf(values, context);
  return context.absolute ? formatSigned(difference, context.sampleType.unit) : formatPercent(difference, true);
}

function comparable([comparison, base]: readonly number[], { absolute, totals }: ValueContext): [number, number] {
  if (absolute) return [comparison!, base!];
  return [fraction(comparison!, totals[0]!), fraction(base!, totals[1]!)];
}

// Returns "file:line", as far as the profile knows them.
export function sourceLocation(fn: number, functions: Functions): string {
  if (fn < 0) return "";
  const file = sanitize(functions.file[fn]!);
  const line = functions.line[fn]!;
  return file && line ? `${file}:${line}` : file;
}

// Returns the whole name and the source of a function, as a tooltip.
export function describeFunction(fn: number, functions: Functions): string {
  return [displayName(functions.name[fn]!).slice(0, MAX_TOOLTIP), sourceLocation(fn, functions)]
    .filter(Boolean)
    .join("\n");
}

interface DetailsProps {
  tree: Tree;
  node: number;
  zoomed: number; // the frame that the graph shows; 0 for all
  context: ValueContext;
}

export function FrameDetails({ tree, node, zoomed, context }: DetailsProps) {
  const fn = tree.fn[node]!;
  const source = sourceLocation(fn, context.functions);
  const { unit } = context.sampleType;
  const diff = context.totals.length > 1;
  return (
    <dl class="frame-details">
      <dt class="name" dir="auto">
        {tree.nameOf(node)}
      </dt>
      {fn === OTHER && <dd class="source">small frames, folded into one</dd>}
      {source && (
        <dd class="source" dir="auto">
          {source}
        </dd>
      )}
      {context.totals.map((total, side) => {
        const value = tree.values[side]![node]!;
        const self = tree.self[side]![node]!;
        return (
          <dd key={side} class="numbers">
            {diff && <span class="side-name">{SIDE_NAMES[side]}</span>}
            <span>
              total <b>{formatValue(value, unit)}</b> {formatPercent(fraction(value, total))}
            </span>
            {zoomed > 0 && (
              <span>{formatPercent(fraction(value, tree.values[side]![zoomed]!))} of the zoomed frame</span>
            )}
            {fn !== ROOT && fn !== OTHER && (
              <span>
                self <b>{formatValue(self, unit)}</b> {formatPercent(fraction(self, total))}
              </span>
            )}
          </dd>
        );
      })}
      {diff && (
        <dd class="numbers">
          <span class="side-name">change</span>
          <b>
            {formatDifference(
              tree.values.map((column) => column[node]!),
              context,
            )}
          </b>
        </dd>
      )}
    </dl>
  );
}

// Describes a frame for screen readers, in a sentence.
export function describeFrame(tree: Tree, node: number, context: ValueContext): string {
  const parts = [tree.nameOf(node).slice(0, 120)];
  context.totals.forEach((total, side) => {
    const value = tree.values[side]![node]!;
    const sideName = context.totals.length > 1 ? `${SIDE_NAMES[side]} ` : "";
    parts.push(
      `${sideName}${formatValue(value, context.sampleType.unit)}, ${formatPercent(fraction(value, total))}`,
    );
  });
  return parts.join(", ");
}
