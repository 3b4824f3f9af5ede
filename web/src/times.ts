// Times are UTC, as the API shows them.

import type { Span } from "./state";

export const PRESETS: [string, Span][] = [
  ["15 min", { from: "now-15m", to: "now" }],
  ["1 h", { from: "now-1h", to: "now" }],
  ["6 h", { from: "now-6h", to: "now" }],
  ["24 h", { from: "now-24h", to: "now" }],
  ["7 d", { from: "now-7d", to: "now" }],
  ["30 d", { from: "now-30d", to: "now" }],
];

export function isoSecond(seconds: number): string {
  return new Date(seconds * 1000).toISOString().slice(0, 19);
}

export function secondsOf(text: string): number {
  return Date.parse(/[zZ]|[+-]\d\d:?\d\d$/.test(text) ? text : `${text}Z`) / 1000;
}

// What a tick of an axis says, given how far it is to the next.
export function shownTick(seconds: number, step: number): string {
  const text = isoSecond(seconds);
  if (step >= 86400) return text.slice(0, 10);
  const clock = step >= 60 ? text.slice(11, 16) : text.slice(11);
  return clock.startsWith("00:00") && step >= 60 ? text.slice(5, 10) : clock;
}

const TICKS = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200, 86400];

export function tickStep(seconds: number, most: number): number {
  const least = seconds / Math.max(1, most);
  return TICKS.find((step) => step >= least) ?? Math.ceil(least / 86400) * 86400;
}
