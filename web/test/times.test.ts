import assert from "node:assert/strict";
import { test } from "node:test";
import {
  formatDuration,
  formatSecond,
  formatTick,
  lastQuarter,
  parseTime,
  pinTime,
  PRESETS,
  tickStep,
} from "../src/times";

const NOON = Date.UTC(2026, 10, 23, 12) / 1000;
const DAY = 86400;

test("seconds are formatted as the API does", () => {
  assert.equal(formatSecond(NOON), "2026-11-23T12:00:00");
  assert.equal(formatSecond(0), "1970-01-01T00:00:00");
});

test("a time without a zone is UTC", () => {
  assert.equal(parseTime("2026-11-23T12:00:00"), NOON);
  assert.equal(parseTime("2026-11-23T12:00:00Z"), NOON);
  assert.equal(parseTime("2026-11-23T12:00:00z"), NOON);
  assert.equal(parseTime("2026-11-23T14:00:00+02:00"), NOON);
  assert.equal(parseTime("2026-11-23T10:30:00-01:30"), NOON);
});

test("a relative or malformed time is NaN", () => {
  for (const text of ["now", "now-1h", "yesterday", ""]) assert.ok(Number.isNaN(parseTime(text)), text);
});

test("ticks show what their step needs", () => {
  assert.equal(formatTick(NOON + 5, 1), "12:00:05");
  assert.equal(formatTick(NOON + 30, 30), "12:00:30");
  assert.equal(formatTick(NOON + 60, 60), "12:01");
  assert.equal(formatTick(NOON, 3600), "12:00");
  assert.equal(formatTick(NOON + DAY / 2, 3600), "11-24");
  assert.equal(formatTick(NOON + DAY / 2, 60), "11-24");
  assert.equal(formatTick(NOON + DAY / 2, 30), "00:00:00");
  assert.equal(formatTick(NOON + DAY / 2, DAY), "2026-11-24");
});

test("ticks are round and at most as many as asked for", () => {
  assert.equal(tickStep(3600, 10), 600);
  assert.equal(tickStep(6000, 10), 600);
  assert.equal(tickStep(6001, 10), 900);
  assert.equal(tickStep(5, 10), 1);
  assert.equal(tickStep(10, 0), 10);
  assert.equal(tickStep(DAY * 10, 10), DAY);
  assert.equal(tickStep(DAY * 25, 10), 3 * DAY);
});

test("ticks are at steps that people count time in", () => {
  const steps = new Set(Array.from({ length: DAY }, (_, i) => tickStep(i + 1, 1)));
  const minutes = [1, 2, 5, 10, 15, 30];
  const hours = [1, 2, 3, 6, 12, 24];
  assert.deepEqual(
    [...steps],
    [...minutes, ...minutes.map((minute) => 60 * minute), ...hours.map((hour) => 3600 * hour)],
  );
});

test("presets end now and are in ascending order", () => {
  const hours = PRESETS.map(([name, { from, to }]) => {
    assert.equal(to, "now");
    assert.equal(from, `now-${name.replaceAll(" ", "").replace("min", "m")}`);
    return parseInt(name) * { m: 1, h: 60, d: 1440 }[name.replace(/\d+ /, "")[0] as "m" | "h" | "d"];
  });
  assert.deepEqual(
    hours,
    hours.toSorted((a, b) => a - b),
  );
});

test("relative times become absolute, others stay", () => {
  const times: Record<string, string> = {
    now: "2026-11-23T12:00:00",
    "now-1h": "2026-11-23T11:00:00",
    "-15m": "2026-11-23T11:45:00",
    "now-7d": "2026-11-16T12:00:00",
    "now-1w": "2026-11-16T12:00:00",
    "2026-11-23T12:00:00+02:00": "2026-11-23T12:00:00+02:00",
    "now-99999999999999d": "now-99999999999999d",
    "now-1y": "now-1y",
    yesterday: "yesterday",
    "": "",
  };
  for (const [text, expected] of Object.entries(times)) assert.equal(pinTime(text, NOON), expected, text);
});

test("the last quarter of a range", () => {
  assert.deepEqual(lastQuarter({ from: "now-1h", to: "now" }, NOON), {
    range: { from: "2026-11-23T11:45:00", to: "2026-11-23T12:00:00" },
    length: "15 min",
  });
  assert.equal(lastQuarter({ from: "yesterday", to: "now" }, NOON), null);
  assert.equal(lastQuarter({ from: "now-3s", to: "now" }, NOON), null);
  assert.equal(lastQuarter({ from: "now", to: "now-1h" }, NOON), null);
});

test("durations have the largest unit that leaves two of it", () => {
  const texts = [1, 119, 120, 5400, 7200, 86400, 172800].map(formatDuration);
  assert.deepEqual(texts, ["1 s", "119 s", "2 min", "90 min", "2 h", "24 h", "2 d"]);
});
