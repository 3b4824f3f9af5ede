import assert from "node:assert/strict";
import { describe, test } from "node:test";
import type { ServiceDetails } from "../src/api";
import { endComparison, startComparison } from "../src/comparison";
import type { Matcher } from "../src/labels";
import { DEFAULT_STATE } from "../src/state";

function detailsOf(labels: Record<string, string[]>): ServiceDetails {
  return {
    types: ["cpu"],
    labels: Object.entries(labels).map(([key, values]) => ({ key, values })),
    complete: true,
  };
}

const is = (key: string, value: string): Matcher => ({ key, op: "=", value });
const REGION = is("region", "eu");
const VERSIONS = detailsOf({ region: ["eu", "us"], version: ["0.10.0", "0.2.0", "0.9.0"] });

describe("a comparison", () => {
  test("is of the last two versions, in the order of their numbers", () => {
    const changes = startComparison({ ...DEFAULT_STATE, labels: [REGION] }, VERSIONS);
    assert.deepEqual(changes.labels, [REGION, is("version", "0.10.0")]);
    assert.deepEqual(changes.baseLabels, [REGION, is("version", "0.9.0")]);
    assert.equal(changes.groupBy, "version");
    assert.equal(changes.diff, true);
  });

  test("is of the only two versions", () => {
    const changes = startComparison(DEFAULT_STATE, detailsOf({ version: ["1", "2"] }));
    assert.deepEqual([changes.labels, changes.baseLabels], [[is("version", "2")], [is("version", "1")]]);
  });

  test("keeps the grouping, and the versions go first", () => {
    const changes = startComparison({ ...DEFAULT_STATE, groupBy: "region" }, VERSIONS);
    assert.equal(changes.groupBy, "region");
    assert.deepEqual(changes.labels, [is("version", "0.10.0")]);
  });

  test("is of the grouping label's last two values without versions", () => {
    const details = detailsOf({ host: ["a", "b"], region: ["ap", "eu", "us"], version: ["1"] });
    const changes = startComparison({ ...DEFAULT_STATE, groupBy: "region" }, details);
    assert.deepEqual([changes.labels, changes.baseLabels], [[is("region", "us")], [is("region", "eu")]]);
  });

  test("begins with equal sides if there is nothing to suggest", () => {
    const selection = { from: "1", to: "2" };
    const state = { ...DEFAULT_STATE, selection, zoom: "abc" };
    const equal = { diff: true, zoom: "", baseSelection: selection, baseLabels: [] };
    assert.deepEqual(startComparison(state, null), equal);
    assert.deepEqual(startComparison(state, detailsOf({ version: ["1"] })), equal);
    assert.deepEqual(startComparison(state, detailsOf({ host: ["a", "b"] })), equal);
    const labels = [is("version", "0.2.0")];
    assert.deepEqual(startComparison({ ...state, labels }, VERSIONS), { ...equal, baseLabels: labels });
  });

  test("ends as it began", () => {
    const before = { labels: [REGION], selection: null, groupBy: "" };
    const during = { ...DEFAULT_STATE, ...startComparison({ ...DEFAULT_STATE, labels: [REGION] }, VERSIONS) };
    const ended = { diff: false, baseSelection: null, baseLabels: [], zoom: "" };
    assert.deepEqual(endComparison(during, before), { ...before, ...ended });
  });

  test("that a link opened ends with the labels of both sides", () => {
    const during = { ...DEFAULT_STATE, ...startComparison({ ...DEFAULT_STATE, labels: [REGION] }, VERSIONS) };
    assert.deepEqual(endComparison(during, null).labels, [REGION]);
  });
});
