import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { parseTime } from "../src/times";
import { formatClock, formatOffset, fromInput, toInput, zoneName, zoneOffset } from "../src/zone";

const SUMMER = parseTime("2026-07-01T12:00:00");
const WINTER = parseTime("2026-12-01T12:00:00");

describe("a zone with summer time", () => {
  const { TZ } = process.env;
  before(() => (process.env.TZ = "Europe/Berlin"));
  after(() => (TZ === undefined ? delete process.env.TZ : (process.env.TZ = TZ)));

  test("is ahead of UTC by the hours of that time", () => {
    assert.deepEqual(
      [SUMMER, WINTER].map((time) => zoneOffset(time, "local")),
      [7200, 3600],
    );
    assert.deepEqual(
      [SUMMER, WINTER].map((time) => zoneOffset(time, "UTC")),
      [0, 0],
    );
    assert.equal(formatClock(SUMMER, "local"), "2026-07-01T14:00:00");
    assert.equal(zoneName(WINTER, "local"), "UTC+01:00");
    assert.equal(zoneName(WINTER, "UTC"), "UTC");
  });

  test("is in an input, and UTC in a link", () => {
    assert.equal(toInput("2026-07-01T12:00:00", "local"), "2026-07-01T14:00:00+02:00");
    assert.equal(fromInput("2026-07-01T14:00:00+02:00", "local"), "2026-07-01T12:00:00");
    assert.equal(fromInput("2026-07-01T14:00:00", "local"), "2026-07-01T12:00:00");
    for (const text of ["now", "now-1h", "yesterday"]) {
      assert.equal(toInput(text, "local"), text);
      assert.equal(fromInput(text, "local"), text);
    }
    assert.equal(toInput("2026-07-01T12:00:00", "UTC"), "2026-07-01T12:00:00");
    assert.equal(fromInput("2026-07-01T12:00:00", "UTC"), "2026-07-01T12:00:00");
  });
});

test("an offset has a sign, hours and minutes", () => {
  const { TZ } = process.env;
  for (const [zone, offset] of [
    ["Asia/Kolkata", "+05:30"],
    ["America/St_Johns", "-03:30"],
    ["UTC", "+00:00"],
  ]) {
    process.env.TZ = zone;
    assert.equal(formatOffset(WINTER, "local"), offset);
  }
  if (TZ === undefined) delete process.env.TZ;
  else process.env.TZ = TZ;
  assert.equal(formatOffset(WINTER, "UTC"), "Z");
  assert.equal(zoneOffset(NaN, "local"), 0);
});
