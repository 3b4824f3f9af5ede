// The geometry of the timeline, in pixels.

import type { Series } from "./api";
import { sanitize } from "./names";
import type { TimeRange } from "./state";
import { formatSecond, parseTime, tickStep } from "./times";
import { roundTicks } from "./units";

const LEFT = 64; // room for the labels of the value axis
const RIGHT = 8;
const TOP = 6;
const BOTTOM = 18; // room for the labels of the time axis
const TICK_DISTANCE = 90; // at least

export interface Line {
  name: string;
  values: (number | null)[]; // by step; null without profiles
}

export class TimelineChart {
  readonly left = LEFT;
  readonly top = TOP;
  readonly right: number;
  readonly bottom: number;
  readonly steps: number;
  readonly start: number; // unix seconds
  readonly step: number; // seconds
  readonly stepWidth: number;
  readonly valueTicks: number[]; // from 0 to maxValue
  readonly maxValue: number;

  constructor(
    series: Series,
    lines: Line[],
    readonly width: number,
    readonly height: number,
    unit = "count",
  ) {
    this.start = parseTime(series.start);
    this.step = series.step;
    this.steps = series.groups[0]?.profiles.length ?? 0;
    this.right = LEFT + Math.max(1, width - LEFT - RIGHT);
    this.bottom = height - BOTTOM;
    this.stepWidth = (this.right - LEFT) / Math.max(1, this.steps);
    const largest = Math.max(0, ...lines.map(({ values }) => Math.max(...values.map((value) => value ?? 0))));
    this.valueTicks = roundTicks(largest || 1, unit);
    this.maxValue = this.valueTicks.at(-1)!;
  }

  x(step: number): number {
    return LEFT + step * this.stepWidth;
  }

  y(value: number): number {
    return this.bottom - (Math.max(0, value) / this.maxValue) * (this.bottom - TOP);
  }

  // Returns the step at a horizontal position; beyond the ends, the nearest one.
  stepAt(x: number): number {
    return Math.min(this.steps - 1, Math.max(0, Math.floor((x - LEFT) / this.stepWidth)));
  }

  secondsAt(step: number): number {
    return this.start + step * this.step;
  }

  // Returns the time range from the beginning of one step to the last second of another, in any order.
  rangeOf(a: number, b: number): TimeRange {
    return {
      from: formatSecond(this.secondsAt(Math.min(a, b))),
      to: formatSecond(this.secondsAt(Math.max(a, b) + 1) - 1),
    };
  }

  // Returns the position of a time range; null if it is relative or outside the plot.
  bandOf(range: TimeRange): { x: number; width: number } | null {
    const from = (parseTime(range.from) - this.start) / this.step;
    const to = (parseTime(range.to) + 1 - this.start) / this.step; // through the end of its last second
    if (Number.isNaN(from) || Number.isNaN(to) || to <= 0 || from >= this.steps) return null;
    const x = Math.max(LEFT, this.x(from));
    return { x, width: Math.max(1, Math.min(this.right, this.x(to)) - x) };
  }

  // Returns the ticks of the time axis, and the seconds between them. They are round in a zone that is *offset* seconds
  // ahead of UTC.
  ticks(offset = 0): { step: number; seconds: number[] } {
    const step = tickStep(this.steps * this.step, (this.right - LEFT) / TICK_DISTANCE);
    const seconds: number[] = [];
    const end = this.secondsAt(this.steps);
    const first = Math.ceil((this.start + offset) / step) * step - offset;
    for (let tick = first; tick < end; tick += step) seconds.push(tick);
    return { step, seconds };
  }

  // Returns an SVG path with a line for each run of steps that have profiles. A run of one step is a dash.
  pathOf(values: readonly (number | null)[]): string {
    const point = (step: number): string => `${this.x(step + 0.5).toFixed(1)} ${this.y(values[step]!).toFixed(1)}`;
    const paths: string[] = [];
    for (let start = 0; start < values.length; start++) {
      if (values[start] === null) continue;
      let end = start;
      while (typeof values[end + 1] === "number") end++;
      if (end === start) {
        const x = this.x(start + 0.5) - this.stepWidth / 3;
        paths.push(
          `M${x.toFixed(1)} ${this.y(values[start]!).toFixed(1)}h${((this.stepWidth * 2) / 3).toFixed(1)}`,
        );
      } else {
        const points: string[] = [];
        for (let step = start; step <= end; step++) points.push(point(step));
        paths.push(`M${points.join("L")}`);
      }
      start = end;
    }
    return paths.join("");
  }
}

// Returns the lines of a timeline: the values of a sample type or, if there are no totals, the number of profiles. If
// there are more than *maxLines* groups, the smallest are one line.
export function linesOf(series: Series, sampleTypeIndex: number, maxLines = Infinity): Line[] {
  const valuesOf = (group: Series["groups"][number]): (number | null)[] =>
    group.profiles.map((profiles, step) =>
      profiles ? (group.values[sampleTypeIndex]?.[step] ?? profiles) : null,
    );
  const all = series.groups.map((group) => {
    const values = valuesOf(group);
    const name = group.labels.map(({ value }) => sanitize(value) || "(none)").join(", ");
    return { name, values, others: group.others ?? 0, total: values.reduce<number>((a, b) => a + (b ?? 0), 0) };
  });
  const bySize = [...all].sort((a, b) => Number(a.others > 0) - Number(b.others > 0) || b.total - a.total);
  const rest = all.length > maxLines ? bySize.slice(maxLines - 1) : bySize.filter(({ others }) => others);
  const kept: Line[] = all.filter((line) => !rest.includes(line)).map(({ name, values }) => ({ name, values }));
  if (!rest.length) return kept;
  const count = rest.reduce((sum, { others }) => sum + (others || 1), 0);
  const values = rest[0]!.values.map((_, step) =>
    rest.reduce<number | null>((sum, line) => {
      const value = line.values[step]!;
      return value === null ? sum : (sum ?? 0) + value;
    }, null),
  );
  return [...kept, { name: `${count} others`, values }];
}

export interface Marker {
  step: number;
  name: string;
}

const MAX_MARKERS = 12;

// Returns where the values of a label appear in *series*, which it groups: the deploys, if the label is a version. What
// is there from the beginning may be older.
export function firstSights(series: Series): Marker[] {
  const sights = series.groups
    .filter(({ others, labels }) => !others && labels[0]?.value)
    .map(({ profiles, labels }) => ({
      step: profiles.findIndex((count) => count > 0),
      name: sanitize(labels[0]!.value),
    }))
    .sort((a, b) => a.step - b.step);
  return sights.filter(({ step }) => step > sights[0]!.step).slice(-MAX_MARKERS);
}
