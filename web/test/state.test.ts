import assert from "node:assert/strict";
import { test } from "node:test";
import { DEFAULT_STATE, fromQuery, pinState, toQuery, type State } from "../src/state";

const CHANGED: State = {
  service: "shop & co",
  profileType: "heap",
  sampleType: "inuse_space",
  aggregate: "latest",
  range: { from: "2026-11-23T12:00:00", to: "2026-11-23T13:00:00" },
  selection: { from: "2026-11-23T12:10:00", to: "2026-11-23T12:20:00" },
  labels: [{ key: "version", op: "=", value: "a,b" }],
  diff: true,
  baseSelection: { from: "2026-11-23T12:00:00", to: "2026-11-23T12:05:00" },
  baseLabels: [{ key: "version", op: "!~", value: "" }],
  groupBy: "version",
  refinements: { focus: "a|b", tagroot: "endpoint" },
  view: "table",
  search: "/^main/",
  zoom: "abc",
  focus: "main.main",
  rootAtBottom: true,
  colors: "plain",
  dragTarget: "base",
  colorBlindSafe: true,
  absolute: true,
  sideBySide: true,
};

test("the default state has a short URL", () => {
  assert.equal(toQuery(DEFAULT_STATE), "from=now-1h");
  assert.deepEqual(fromQuery(""), DEFAULT_STATE);
  assert.deepEqual(fromQuery("?from=now-1h"), DEFAULT_STATE);
});

test("every part of the state is in the URL", () => {
  for (const key of Object.keys(CHANGED) as (keyof State)[]) {
    assert.notDeepEqual(CHANGED[key], DEFAULT_STATE[key], `${key} is changed`);
  }
  assert.deepEqual(fromQuery(toQuery(CHANGED)), CHANGED);
  assert.deepEqual(fromQuery(toQuery({ ...CHANGED, view: "flame" })).view, "flame");
});

test("every part alone is in the URL", () => {
  const onlyInDiff = new Set([
    "baseSelection",
    "baseLabels",
    "dragTarget",
    "colorBlindSafe",
    "absolute",
    "sideBySide",
  ]);
  for (const key of Object.keys(CHANGED) as (keyof State)[]) {
    const state = { ...DEFAULT_STATE, diff: onlyInDiff.has(key), [key]: CHANGED[key] };
    assert.deepEqual(fromQuery(toQuery(state)), state, key);
  }
});

test("a diff of equal labels is a diff", () => {
  assert.equal(fromQuery(toQuery({ ...DEFAULT_STATE, diff: true })).diff, true);
});

test("the base is not in the URL without a diff", () => {
  const query = new URLSearchParams(toQuery({ ...CHANGED, diff: false }));
  for (const name of ["base_labels", "base_sel", "drag", "safe", "absolute", "side"])
    assert.equal(query.has(name), false, name);
});

test("links of earlier versions of the page keep their meaning", () => {
  assert.equal(
    decodeURIComponent(toQuery(CHANGED)).replaceAll("+", " "),
    "service=shop & co&type=heap&sample=inuse_space&aggregate=latest&from=2026-11-23T12:00:00&to=2026-11-23T13:00:00" +
      "&sel=2026-11-23T12:10:00~2026-11-23T12:20:00&labels=version=a%2Cb&base_labels=version!~" +
      "&base_sel=2026-11-23T12:00:00~2026-11-23T12:05:00&drag=base&safe=1&absolute=1&side=1&group=version&pprof_focus=a|b&pprof_tagroot=endpoint&view=table" +
      "&search=/^main/&zoom=abc&focus=main.main&flip=1&colors=plain",
  );
});

test("malformed parts are as if they were absent", () => {
  assert.deepEqual(
    fromQuery("sel=a&base_sel=~&view=x&flip=2&colors=x&drag=x&safe=&absolute=true&labels=%25&from=&to="),
    DEFAULT_STATE,
  );
  assert.equal(fromQuery("sel=~b").selection, null);
});

test("a pinned state has absolute times", () => {
  const noon = Date.UTC(2026, 10, 23, 12) / 1000;
  const selection = { from: "now-5m", to: "now" };
  const pinned = pinState({ ...DEFAULT_STATE, selection, baseSelection: selection }, noon);
  assert.deepEqual(pinned.range, { from: "2026-11-23T11:00:00", to: "2026-11-23T12:00:00" });
  assert.deepEqual(pinned.selection, { from: "2026-11-23T11:55:00", to: "2026-11-23T12:00:00" });
  assert.deepEqual(pinned.baseSelection, pinned.selection);
  assert.equal(pinState(DEFAULT_STATE, noon).selection, null);
});
