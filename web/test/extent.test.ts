import assert from "node:assert/strict";
import { beforeEach, test } from "node:test";
import { findExtent } from "../src/extent";
import { DEFAULT_STATE, type State } from "../src/state";
import { formatSecond, parseTime } from "../src/times";

const STATE: State = {
  ...DEFAULT_STATE,
  service: "shop",
  profileType: "cpu",
  labels: [{ key: "version", op: "=", value: "1" }],
  groupBy: "version",
};
const NOW = parseTime("2026-11-23T12:00:00");
const MAX_STEPS = 200;

let profiles: number[][] = []; // the times of each group, in unix seconds
let urls: URL[] = [];

// Answers as the server does: in at most 200 steps, which begin at multiples of their length. From 0 on they begin
// with the first profile.
function answer(url: URL): unknown {
  const [from, to] = [url.searchParams.get("from")!, url.searchParams.get("to")];
  const end = to === null ? NOW : parseTime(to);
  const start = from === "0" ? Math.min(...profiles.flat()) : parseTime(from);
  const step = Math.ceil((end - start + 1) / (MAX_STEPS - 1));
  const first = Math.floor(start / step);
  const groups = profiles.map((times) => {
    const counts = Array.from({ length: Math.floor(end / step) - first + 1 }, () => 0);
    for (const time of times) {
      if (start <= time && time <= end) counts[Math.floor(time / step) - first]! += 1;
    }
    return { labels: [], profiles: counts, values: [] };
  });
  return { start: formatSecond(first * step), step, sample_types: [], aggregates: [], groups };
}

beforeEach(() => {
  urls = [];
  Object.assign(globalThis, {
    document: { baseURI: "http://localhost/" },
    sessionStorage: { getItem: () => null },
    fetch: (url: string) => {
      urls.push(new URL(url));
      return Promise.resolve(Response.json({ body: answer(new URL(url)) }));
    },
  });
});

test("the extent is from the first profile to the last, of any group, whatever is selected", async () => {
  const [first, last] = [NOW - 70_000_123, NOW - 50_000_077];
  profiles = [[first, NOW - 60_000_000], [last]];
  const extent = await findExtent(STATE);
  const slack = (last - first) / 100;
  for (const beyond of [first - parseTime(extent.from), parseTime(extent.to) - last]) {
    assert.ok(0 <= beyond && beyond < slack, `${beyond} seconds beyond a profile`);
  }
  assert.equal(urls[0]!.search, "?service=shop&type=cpu&from=0&aggregate=auto");
  for (const url of urls) assert.equal(url.searchParams.has("labels") || url.searchParams.has("group_by"), false);
  assert.ok(urls.length <= 6);
});

test("the extent of one profile is its second", async () => {
  profiles = [[NOW - 100_000_000]];
  const second = formatSecond(NOW - 100_000_000);
  assert.deepEqual(await findExtent(STATE), { from: second, to: second });
});

test("an extent that steps of a second show needs one request", async () => {
  profiles = [[NOW - 150, NOW - 10]];
  assert.deepEqual(await findExtent(STATE), { from: formatSecond(NOW - 150), to: formatSecond(NOW - 10) });
  assert.equal(urls.length, 1);
});
