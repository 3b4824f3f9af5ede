import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { firstSights, linesOf, TimelineChart } from "../src/timelineChart";
import { seriesOf } from "./fixtures";

const VALUES = [0, 0, 4, 8, 0, 0, 2, 0, 0, 0];
const GAPS = VALUES.map((value) => value || null);

// 64 pixels of axis, ten steps of 50 pixels, 8 pixels on the right; 6 above and 18 below 100 pixels of values.
function chartOf(...groups: number[][]): TimelineChart {
  const series = seriesOf(...groups);
  return new TimelineChart(series, linesOf(series, 0), 64 + 500 + 8, 6 + 100 + 18);
}

const chart = chartOf(VALUES);

test("steps and values have their places", () => {
  assert.deepEqual(
    [0, 1, 10].map((step) => chart.x(step)),
    [64, 114, 564],
  );
  assert.deepEqual(
    [0, 4, 8, -1].map((value) => chart.y(value)),
    [106, 56, 6, 106],
  );
  assert.deepEqual([chart.left, chart.right, chart.top, chart.bottom], [64, 564, 6, 106]);
  assert.equal(chart.secondsAt(2) - chart.start, 120);
});

test("a position is in a step", () => {
  assert.deepEqual(
    [64, 113, 114, 563].map((x) => chart.stepAt(x)),
    [0, 0, 1, 9],
  );
  assert.deepEqual(
    [-100, 9999].map((x) => chart.stepAt(x)),
    [0, 9],
  );
});

test("steps select a range through the last second, in any direction", () => {
  const range = { from: "2026-11-23T12:02:00", to: "2026-11-23T12:04:59" };
  assert.deepEqual([chart.rangeOf(2, 4), chart.rangeOf(4, 2)], [range, range]);
});

describe("a band", () => {
  const band = (from: string, to: string) => chart.bandOf({ from: `2026-11-23T${from}`, to: `2026-11-23T${to}` });

  test("covers its range through the last second", () => {
    assert.deepEqual(band("12:02:00", "12:04:59"), { x: 164, width: 150 });
    assert.deepEqual(chart.bandOf(chart.rangeOf(0, 9)), { x: 64, width: 500 });
  });
  test("is cut at the edges", () => {
    assert.deepEqual(band("11:00:00", "12:00:59"), { x: 64, width: 50 });
    assert.deepEqual(band("12:09:00", "13:00:00"), { x: 514, width: 50 });
  });
  test("is at least a pixel wide", () => assert.deepEqual(band("12:02:00", "12:02:00"), { x: 164, width: 1 }));
  test("is null out of sight", () => {
    assert.equal(band("11:00:00", "11:59:59"), null);
    assert.deepEqual(band("11:00:00", "12:00:00"), { x: 64, width: 1 });
    assert.deepEqual(band("12:09:59", "12:20:00"), { x: chart.x(10 - 1 / 60), width: 1 });
    assert.equal(band("12:10:00", "12:20:00"), null);
  });
  test("is null for a relative time", () => {
    assert.equal(chart.bandOf({ from: "now-5m", to: "2026-11-23T12:04:59" }), null);
    assert.equal(chart.bandOf({ from: "2026-11-23T12:04:59", to: "now" }), null);
  });
});

test("ticks are round times within the range", () => {
  const { step, seconds } = chart.ticks();
  assert.equal(step, 120);
  assert.deepEqual(
    seconds.map((tick) => (tick - chart.start) / 60),
    [0, 2, 4, 6, 8],
  );
  const narrow = new TimelineChart(seriesOf(VALUES), [], 64 + 360 + 8, 124);
  assert.equal(narrow.ticks().step, 300);
  const later = new TimelineChart({ ...seriesOf(VALUES), start: "2026-11-23T12:01:30" }, [], 572, 124);
  assert.deepEqual(
    later.ticks().seconds.map((tick) => tick - later.start),
    [30, 150, 270, 390, 510],
  );
});

describe("a path", () => {
  test("is a line for each run of steps with profiles, and a dash for a single one: gaps are gaps", () => {
    assert.equal(chart.pathOf(GAPS), "M189.0 56.0L239.0 6.0M372.3 81.0h33.3");
  });
  test("includes zeros that were measured", () => {
    assert.equal(chart.pathOf([0, 8, 0]), "M89.0 106.0L139.0 6.0L189.0 106.0");
  });
  test("ends at the edges", () => {
    assert.equal(chartOf([8, 8, 8]).pathOf([8, 8, 8]).split("L").length, 3);
  });
  test("is empty without profiles", () => {
    assert.equal(chart.pathOf([null, null]), "");
    assert.equal(chart.pathOf([]), "");
  });
});

test("a value is marked where it appears, but not if it is there from the beginning", () => {
  const series = seriesOf([1, 1, 1], [0, 0, 1], [0, 1, 0], [0, 0, 0]);
  series.groups[1]!.labels = [{ key: "version", value: "b\u202e" }];
  series.groups[3]!.others = 2;
  assert.deepEqual(firstSights(series), [
    { step: 1, name: "0.0.2" },
    { step: 2, name: "b\ufffd" },
  ]);
  assert.deepEqual(firstSights(seriesOf([0, 1], [0, 1])), []);
  assert.deepEqual(firstSights({ ...series, groups: [] }), []);
});

test("ticks are round in a zone", () => {
  const { seconds } = chart.ticks(90);
  assert.deepEqual(
    seconds.map((tick) => tick - chart.start),
    [30, 150, 270, 390, 510],
  );
});

describe("lines", () => {
  test("have the values of the sample type, and the labels' values for a name", () => {
    const series = seriesOf([1, 2], [3, 4]);
    series.groups[0]!.values = [
      [1, 2],
      [10, 20],
    ];
    series.groups[1]!.values = [
      [3, 4],
      [30, 40],
    ];
    series.groups[1]!.labels = [
      { key: "a", value: "x\u202ey" },
      { key: "b", value: "" },
    ];
    assert.deepEqual(linesOf(series, 1), [
      { name: "0.0.0", values: [10, 20] },
      { name: "x\ufffdy, (none)", values: [30, 40] },
    ]);
  });
  test("of small groups say how many they are", () => {
    const series = seriesOf([1]);
    series.groups[0]!.others = 7;
    assert.equal(linesOf(series, 0)[0]!.name, "7 others");
  });
  test("are numbers of profiles if there are no totals", () => {
    const series = seriesOf([5, 0, 6]);
    series.groups[0]!.values = [];
    assert.deepEqual(linesOf(series, 0)[0]!.values, [1, null, 1]);
  });
  test("are the largest and one of all others, if there are too many", () => {
    const series = seriesOf([1, 0, 1], [9, 9, 9], [3, 0, 0], [5, 5, 5]);
    assert.deepEqual(linesOf(series, 0, 3), [
      { name: "0.0.1", values: [9, 9, 9] },
      { name: "0.0.3", values: [5, 5, 5] },
      { name: "2 others", values: [4, null, 1] },
    ]);
    series.groups[1]!.others = 7;
    assert.deepEqual(
      linesOf(series, 0, 3).map(({ name }) => name),
      ["0.0.2", "0.0.3", "8 others"],
    );
    assert.equal(linesOf(series, 0, 4).length, 4);
  });
});

test("the scale fits all lines, and a chart without values has one", () => {
  assert.equal(chartOf([1, 2], [3, 9]).maxValue, 9);
  assert.deepEqual(chartOf([1, 2], [3, 9]).valueTicks, [0, 3, 6, 9]);
  assert.equal(chartOf([0, 0]).maxValue, 1);
  const empty = new TimelineChart({ ...seriesOf(), groups: [] }, [], 0, 0);
  assert.deepEqual([empty.steps, empty.maxValue, empty.x(0)], [0, 1, 64]);
});
