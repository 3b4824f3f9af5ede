import assert from "node:assert/strict";
import { describe, test } from "node:test";
import type { ServiceSummary } from "../src/api";
import {
  cpuByService,
  formatLastSeen,
  formatProfiles,
  searchServices,
  sortByLastSeen,
  sparkline,
} from "../src/serviceRows";
import { parseTime } from "../src/times";
import { seriesOf } from "./fixtures";

const summaryOf = (service: string, last_seen = ""): ServiceSummary => ({ service, types: ["cpu"], last_seen });
const namesOf = (services: ServiceSummary[]): string[] => services.map(({ service }) => service);
const NOON = parseTime("2026-11-23T12:00:00");

test("a search finds services with all of its words, in any case", () => {
  const services = ["shop-cart", "Shop-api", "bank-api"].map((name) => summaryOf(name));
  assert.deepEqual(namesOf(searchServices(services, "")), ["shop-cart", "Shop-api", "bank-api"]);
  assert.deepEqual(namesOf(searchServices(services, " API  shop ")), ["Shop-api"]);
  assert.deepEqual(namesOf(searchServices(services, ".*")), []);
});

test("services are sorted by the time of their last profile, unknown ones last", () => {
  const services = [
    summaryOf("a", "2026-11-22T12:00:00Z"),
    summaryOf("b"),
    summaryOf("c", "2026-11-23T12:00:00Z"),
  ];
  assert.deepEqual(namesOf(sortByLastSeen(services)), ["c", "a", "b"]);
});

test("CPU time is by service", () => {
  const series = seriesOf([5, 0, 7, 0], [0, 0, 0, 0]);
  series.groups[0]!.labels = [{ key: "service", value: "shop" }];
  series.groups[1]!.others = 3;
  series.sample_types = [
    { type: "samples", unit: "count" },
    { type: "cpu", unit: "nanoseconds" },
  ];
  series.groups[0]!.values.unshift([1, 0, 1, 0]);
  assert.deepEqual(
    [...cpuByService(series)],
    [["shop", { total: 12, profiles: 2, values: [5, null, 7, null], lastSeen: NOON + 180 }]],
  );
  assert.equal(cpuByService({ start: "", step: 1, sample_types: [], aggregates: [], groups: [] }).size, 0);
});

describe("a service was last seen", () => {
  const cpu = { total: 1, profiles: 1, values: [1], lastSeen: NOON - 300 };
  test("when its timeline tells", () => {
    assert.equal(formatLastSeen(summaryOf("a"), cpu, NOON), "5 min ago");
    assert.equal(formatLastSeen(summaryOf("a"), { ...cpu, lastSeen: NOON + 10 }, NOON), "just now");
  });
  test("or roughly", () => {
    assert.equal(formatLastSeen(summaryOf("a", "2026-11-20T13:00:00Z"), undefined, NOON), "2026-11-20");
    assert.equal(formatLastSeen(summaryOf("a", "2026-11-23T13:00:00Z"), undefined, NOON), "today");
    assert.equal(formatLastSeen(summaryOf("a"), undefined, NOON), "unknown");
  });
});

test("a sparkline has a column for each step with profiles", () => {
  assert.equal(
    sparkline([4, null, 2, 0], 40, 20),
    "M0.0 20v-20.0h10.0V20zM20.0 20v-10.0h10.0V20zM30.0 20v-1.0h10.0V20z",
  );
  assert.equal(sparkline([], 40, 20), "");
});

test("CPU time is said to be from profiles", () => {
  const cpu = { total: 3e9, profiles: 2, values: [3e9], lastSeen: NOON };
  assert.equal(formatProfiles(cpu), "in 2 profiles, 1.50 s each on average");
  assert.equal(formatProfiles({ ...cpu, profiles: 1 }), "in 1 profile");
});
