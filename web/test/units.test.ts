import assert from "node:assert/strict";
import { test } from "node:test";
import { formatPercent, formatSigned, formatValue, fraction, roundTicks } from "../src/units";

const VALUES: [number, string, string][] = [
  [0, "nanoseconds", "0"],
  [0.5, "nanoseconds", "0.50 ns"],
  [1, "nanoseconds", "1 ns"],
  [999, "nanoseconds", "999 ns"],
  [1500, "nanoseconds", "1.50 µs"],
  [1_000_000, "nanoseconds", "1 ms"],
  [123_456_789, "nanoseconds", "123.5 ms"],
  [100_400_000, "nanoseconds", "100.4 ms"],
  [1_234_567_890, "nanoseconds", "1.23 s"],
  [90e9, "nanoseconds", "1.50 min"],
  [36e11, "nanoseconds", "1 h"],
  [5e15, "nanoseconds", "1389 h"],
  [2, "microseconds", "2 µs"],
  [2, "milliseconds", "2 ms"],
  [0.5, "seconds", "500 ms"],
  [-1500, "nanoseconds", "−1.50 µs"],
  [1000.25, "bytes", "1000 B"],
  [1023, "bytes", "1023 B"],
  [1024, "bytes", "1 kB"],
  [524_462, "bytes", "512.2 kB"],
  [3 * 2 ** 20, "bytes", "3 MB"],
  [1.5 * 2 ** 30, "bytes", "1.50 GB"],
  [2 ** 40, "bytes", "1 TB"],
  [2 ** 50, "bytes", "1 PB"],
  [2, "kilobytes", "2 kB"],
  [0, "count", "0"],
  [7, "count", "7"],
  [1234, "count", "1.23k"],
  [2_000_000, "count", "2M"],
  [3e9, "count", "3G"],
  [4e12, "count", "4T"],
  [12, "", "12"],
  [12, "widgets", "12 widgets"],
  [1500, "widgets", "1.50k widgets"],
  [0, "widgets", "0 widgets"],
  [12, "constructor", "12 constructor"],
];

test("values have the largest unit that leaves a number from 1, and up to four digits", () => {
  for (const [value, unit, text] of VALUES) assert.equal(formatValue(value, unit), text);
});

test("signed values show their sign", () => {
  assert.equal(formatSigned(1500, "nanoseconds"), "+1.50 µs");
  assert.equal(formatSigned(1, "nanoseconds"), "+1 ns");
  assert.equal(formatSigned(-1500, "nanoseconds"), "−1.50 µs");
  assert.equal(formatSigned(0, "nanoseconds"), "0");
});

test("a fraction of nothing is zero", () => {
  assert.equal(fraction(3, 4), 0.75);
  assert.equal(fraction(3, 0), 0);
  assert.equal(fraction(-1, 4), -0.25);
});

test("percentages have as many digits as help", () => {
  const texts: [number, string][] = [
    [0, "0.0%"],
    [0.00001, "0.00%"],
    [0.0004, "0.04%"],
    [0.00095, "0.1%"],
    [0.1234, "12.3%"],
    [0.9994, "99.9%"],
    [0.9996, "100%"],
    [1.5, "150%"],
    [-0.1234, "−12.3%"],
    [-0.00001, "0.00%"],
  ];
  for (const [part, text] of texts) assert.equal(formatPercent(part), text);
});

test("a signed percentage has a plus unless it is shown as zero", () => {
  assert.equal(formatPercent(0.1234, true), "+12.3%");
  assert.equal(formatPercent(-0.1234, true), "−12.3%");
  assert.equal(formatPercent(0, true), "0.0%");
  assert.equal(formatPercent(0.00001, true), "0.00%");
});

test("ticks are round in the unit that is shown", () => {
  const ticks: [number, string, string[]][] = [
    [1.1e9, "nanoseconds", ["0", "500 ms", "1 s", "1.50 s"]],
    [94e9, "nanoseconds", ["0", "30 s", "1 min", "1.50 min", "2 min"]],
    [600 * 1024, "bytes", ["0", "200 kB", "400 kB", "600 kB"]],
    [3, "bytes", ["0", "1 B", "2 B", "3 B"]],
    [1, "count", ["0", "1"]],
    [7, "count", ["0", "2", "4", "6", "8"]],
    [1_234_567, "count", ["0", "500k", "1M", "1.50M"]],
    [100, "milliseconds", ["0", "25 ms", "50 ms", "75 ms", "100 ms"]],
    [0, "count", ["0", "1"]],
  ];
  for (const [max, unit, texts] of ticks) {
    assert.deepEqual(
      roundTicks(max, unit).map((value) => formatValue(value, unit)),
      texts,
      `${max} ${unit}`,
    );
  }
});
