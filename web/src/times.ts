// Times in UTC, as the API writes them.

import type { TimeRange } from "./state";

export const PRESETS: [string, TimeRange][] = [
  ["15 min", { from: "now-15m", to: "now" }],
  ["1 h", { from: "now-1h", to: "now" }],
  ["6 h", { from: "now-6h", to: "now" }],
  ["24 h", { from: "now-24h", to: "now" }],
  ["7 d", { from: "now-7d", to: "now" }],
  ["30 d", { from: "now-30d", to: "now" }],
];

const DAY_SECONDS = 86400;
const TICK_SECONDS = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200, 86400];
const UNIT_SECONDS: Record<string, number> = { s: 1, m: 60, h: 3600, d: DAY_SECONDS, w: 7 * DAY_SECONDS };
const MAX_SECONDS = 8.64e12; // what Date can hold
const DURATIONS: [string, number][] = [
  ["d", DAY_SECONDS],
  ["h", 3600],
  ["min", 60],
];

// Formats unix seconds as 2006-01-02T15:04:05.
export function formatSecond(seconds: number): string {
  return new Date(seconds * 1000).toISOString().slice(0, 19);
}

// Returns unix seconds; NaN for a relative or malformed time. A time without a zone is UTC.
export function parseTime(text: string): number {
  return Date.parse(/[zZ]|[+-]\d\d:?\d\d$/.test(text) ? text : `${text}Z`) / 1000;
}

// Returns a relative time as an absolute one; other times stay as they are.
export function pinTime(text: string, now: number): string {
  if (text.trim() === "now") return formatSecond(now);
  const match = /^(?:now)?-(\d+)([smhdw])$/.exec(text.trim());
  if (!match) return text;
  const seconds = now - Number(match[1]) * UNIT_SECONDS[match[2]!]!;
  return Math.abs(seconds) < MAX_SECONDS ? formatSecond(seconds) : text;
}

export function pinRange({ from, to }: TimeRange, now: number): TimeRange {
  return { from: pinTime(from, now), to: pinTime(to, now) };
}

// Returns the last quarter of a range, and its length in words; null if its times are malformed.
export function lastQuarter(range: TimeRange, now: number): { range: TimeRange; length: string } | null {
  const pinned = pinRange(range, now);
  const [from, to] = [parseTime(pinned.from), parseTime(pinned.to)];
  const seconds = Math.floor((to - from) / 4);
  if (!(seconds >= 1)) return null;
  return { range: { from: formatSecond(to - seconds), to: formatSecond(to) }, length: formatDuration(seconds) };
}

// Formats a number of seconds in the largest unit that leaves two of it, as "90 min", "6 h" or "7 d".
export function formatDuration(seconds: number): string {
  const [unit, length] = DURATIONS.find(([, length]) => seconds >= 2 * length) ?? ["s", 1];
  return `${Math.round(seconds / length)} ${unit}`;
}

// Formats how long ago a time was, in unix seconds.
export function formatAgo(seconds: number, now: number): string {
  return now - seconds < 60 ? "just now" : `${formatDuration(now - seconds)} ago`;
}

// Formats a tick of the time axis as precisely as *step*, the seconds between ticks, needs. Midnight shows the date.
export function formatTick(seconds: number, step: number): string {
  const text = formatSecond(seconds);
  if (step >= DAY_SECONDS) return text.slice(0, 10);
  const clock = step >= 60 ? text.slice(11, 16) : text.slice(11);
  return clock.startsWith("00:00") && step >= 60 ? text.slice(5, 10) : clock;
}

// Returns a round step, in seconds, that divides *seconds* by at most *maxTicks* ticks.
export function tickStep(seconds: number, maxTicks: number): number {
  const minStep = seconds / Math.max(1, maxTicks);
  return TICK_SECONDS.find((step) => step >= minStep) ?? Math.ceil(minStep / DAY_SECONDS) * DAY_SECONDS;
}
