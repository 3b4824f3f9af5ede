import assert from "node:assert/strict";
import { beforeEach, describe, test } from "node:test";
import {
  ApiError,
  apiUrl,
  errorOf,
  fetchCpuOfServices,
  fetchFlameGraph,
  exportUrl,
  fetchMerge,
  fetchSeries,
  fetchServiceDetails,
  fetchServices,
  mergeUrl,
  pageUrl,
  selectionParameters,
} from "../src/api";
import { apiKey } from "../src/apiKey";
import { DEFAULT_STATE, type State } from "../src/state";

const STATE: State = {
  ...DEFAULT_STATE,
  service: "shop",
  profileType: "cpu",
  selection: { from: "2026-11-23T12:00:00", to: "2026-11-23T12:10:00" },
  labels: [{ key: "version", op: "=", value: "0.0.2" }],
  baseLabels: [{ key: "version", op: "=", value: "0.0.1" }],
};

let requests: { url: string; headers: Record<string, string>; credentials: string }[] = [];
let answer: () => Response = () => Response.json({ body: "answer" });

beforeEach(() => {
  const items = new Map<string, string>();
  const sessionStorage = {
    getItem: (name: string) => items.get(name) ?? null,
    setItem: (name: string, value: string) => items.set(name, value),
    removeItem: (name: string) => items.delete(name),
  };
  requests = [];
  answer = () => Response.json({ body: "answer" });
  const fetch = (
    url: string,
    { headers, credentials }: { headers: Record<string, string>; credentials: string },
  ) => {
    requests.push({ url, headers, credentials });
    return new Promise((resolve) => resolve(answer()));
  };
  const document = { baseURI: "https://profiles.example/query/?service=x#y" };
  Object.assign(globalThis, { document, sessionStorage, fetch });
});

// The path and parameters of the only request.
function requested(): { path: string; parameters: Record<string, string> } {
  assert.equal(requests.length, 1);
  const url = new URL(requests[0]!.url);
  return { path: url.pathname, parameters: Object.fromEntries(url.searchParams) };
}

test("the CPU time of several services is one request, and their names are text in its regular expression", async () => {
  await fetchCpuOfServices(["a.b", "<größe>|"], { from: "now-1h", to: "now" }, 60);
  assert.deepEqual(requested().parameters, {
    service: "~a\\.b|\\<größe\\>\\|",
    type: "cpu",
    from: "now-1h",
    group_by: "service",
    step: "60",
  });
  answer = () => Response.json({ error: "nothing found" }, { status: 404 });
  assert.deepEqual((await fetchCpuOfServices(["a"], { from: "1", to: "2" }, null)).groups, []);
  answer = () => Response.json({ error: "wrong" }, { status: 400 });
  await assert.rejects(fetchCpuOfServices(["a"], { from: "1", to: "2" }, null), { status: 400 });
});

describe("URLs", () => {
  test("are below the page's own, without its query", () => {
    assert.equal(pageUrl("ui/x").href, "https://profiles.example/query/ui/x");
    assert.equal(
      apiUrl("api/0/labels", { service: "a" }),
      "https://profiles.example/query/api/0/labels?service=a",
    );
  });

  test("hold any text, and leave out what is undefined", () => {
    const text = "a&b=c 'd' 100%+~";
    const url = new URL(apiUrl("x", { text, none: undefined, empty: "" }));
    assert.deepEqual(Object.fromEntries(url.searchParams), { text, empty: "" });
    assert.doesNotMatch(url.href, /['~ ]/);
  });

  test("of an export have the format, and the sample type that it shows", () => {
    const state = { ...STATE, sampleType: "samples" };
    assert.equal(exportUrl(state, "pprof"), mergeUrl(STATE));
    assert.match(exportUrl(state, "html"), /&aggregate=auto&format=html&sample_type=samples$/);
  });

  test("of a merge select its profiles", () => {
    assert.equal(
      mergeUrl(STATE),
      "https://profiles.example/query/api/0/profiles/merge?service=shop&type=cpu" +
        "&from=2026-11-23T12%3A00%3A00&to=2026-11-23T12%3A10%3A00&labels=version%3D0.0.2&aggregate=auto",
    );
    assert.match(
      mergeUrl(STATE, true),
      /\?service=shop&type=cpu&from=now-1h&labels=version%3D0.0.1&aggregate=auto$/,
    );
  });
});

test("a side is selected by its time range, else that of the timeline, and by its labels", () => {
  const { selection, range } = STATE;
  const common = { service: "shop", type: "cpu", aggregate: "auto" };
  assert.deepEqual(selectionParameters(STATE), { ...common, ...selection, labels: "version=0.0.2" });
  assert.deepEqual(selectionParameters(STATE, true), {
    ...common,
    from: range.from,
    to: undefined,
    labels: "version=0.0.1",
  });
  const other = { ...STATE, baseSelection: selection, baseLabels: [], selection: null, labels: [] };
  assert.deepEqual(selectionParameters(other), { ...common, from: range.from, to: undefined, labels: undefined });
  assert.deepEqual(selectionParameters(other, true), { ...common, ...selection, labels: undefined });
});

describe("requests", () => {
  test("of services and their details", async () => {
    assert.equal(await fetchServices(), "answer");
    assert.deepEqual(requested(), { path: "/query/api/0/services", parameters: { details: "1" } });
    requests = [];
    await fetchServiceDetails("a b");
    assert.deepEqual(requested(), { path: "/query/api/0/labels", parameters: { service: "a b" } });
  });

  test("of a timeline hold the range and the labels", async () => {
    await fetchSeries({ ...STATE, groupBy: "version" });
    assert.deepEqual(requested(), {
      path: "/query/api/0/series",
      parameters: {
        service: "shop",
        type: "cpu",
        from: "now-1h",
        labels: "version=0.0.2",
        group_by: "version",
        aggregate: "auto",
      },
    });
  });

  test("of the timeline of a diff hold no labels", async () => {
    await fetchSeries({ ...STATE, diff: true, range: { from: "0", to: "1" } });
    assert.deepEqual(requested().parameters, {
      service: "shop",
      type: "cpu",
      from: "0",
      to: "1",
      aggregate: "auto",
    });
  });

  test("of a flame graph", async () => {
    await fetchFlameGraph(STATE, null);
    assert.deepEqual(requested(), {
      path: "/query/api/0/profiles/flame",
      parameters: {
        service: "shop",
        type: "cpu",
        ...STATE.selection,
        labels: "version=0.0.2",
        aggregate: "auto",
        max_nodes: "20000",
      },
    });
    requests = [];
    await fetchFlameGraph({ ...STATE, sampleType: "samples", focus: "main.f" }, 100);
    const { sample_type, function: focus, limit } = requested().parameters;
    assert.deepEqual([sample_type, focus, limit], ["samples", "main.f", "100"]);
    requests = [];
    await fetchFlameGraph({ ...STATE, aggregate: "delta" }, null);
    assert.equal(requested().parameters.aggregate, "delta");
  });

  test("of a diff hold the base, whose range ends now and whose labels may be empty", async () => {
    await fetchFlameGraph({ ...STATE, diff: true }, null);
    const { base_from, base_to, base_labels, labels } = requested().parameters;
    assert.deepEqual(
      [base_from, base_to, base_labels, labels],
      ["now-1h", "now", "version=0.0.1", "version=0.0.2"],
    );
    requests = [];
    await fetchFlameGraph({ ...STATE, diff: true, baseLabels: [], baseSelection: { from: "1", to: "2" } }, null);
    const base = requested().parameters;
    assert.deepEqual([base.base_from, base.base_to, base.base_labels], ["1", "2", ""]);
  });

  test("of a pprof return its bytes", async () => {
    answer = () => new Response("bytes");
    assert.equal(await (await fetchMerge(STATE, "pprof")).text(), "bytes");
    assert.equal(requests[0]!.url, mergeUrl(STATE));
  });

  test("send the API key as a header only, and no cookies", async () => {
    await fetchServices();
    assert.deepEqual(requests[0]!.headers, {});
    apiKey.set("pb_secret");
    await fetchServices();
    assert.deepEqual(requests[1]!.headers, { Authorization: "Bearer pb_secret" });
    assert.doesNotMatch(requests[1]!.url, /secret/);
    apiKey.forget();
    assert.equal(apiKey.get(), "");
    await fetchServices();
    assert.deepEqual(requests[2]!.headers, {});
    assert.deepEqual(
      requests.map(({ credentials }) => credentials),
      ["omit", "omit", "omit"],
    );
  });
});

describe("errors", () => {
  test("have the collector's sentence, status and code", async () => {
    answer = () =>
      Response.json({ code: 422, error: "too many", error_code: "max_merge_exceeded" }, { status: 422 });
    await assert.rejects(fetchServices(), (error: ApiError) => {
      assert.deepEqual([error.message, error.status, error.code], ["too many", 422, "max_merge_exceeded"]);
      return error instanceof ApiError;
    });
  });

  test("of a proxy have its text, cut, or its status", () => {
    const page = "\n<html><head><title> 502 Bad Gateway </title></head><body>nginx</body></html>";
    assert.equal(errorOf(502, page).message, "a proxy answered with status 502: 502 Bad Gateway");
    assert.equal(errorOf(502, "<h1>Bad gateway</h1>").message, "a proxy answered with status 502");
    assert.equal(errorOf(502, "x".repeat(501)).message, "x".repeat(500));
    assert.equal(errorOf(502, "").message, "the collector answered with status 502");
    for (const text of ["{}", "null", "[]", '{"error": ""}', '"x"'])
      assert.equal(errorOf(500, text).message, text);
    assert.deepEqual([errorOf(502, "").status, errorOf(502, "").code], [502, ""]);
  });

  test("of the network have status 0", async () => {
    answer = () => {
      throw new TypeError("Failed to fetch");
    };
    await assert.rejects(fetchServices(), { status: 0, message: /did not respond/ });
  });

  test("of an aborted request stay as they are", async () => {
    const controller = new AbortController();
    controller.abort();
    const reason = new DOMException("aborted", "AbortError");
    answer = () => {
      throw reason;
    };
    await assert.rejects(fetchServices(controller.signal), (error) => error === reason);
  });

  test("tell whether merging fewer profiles helps", () => {
    const codes = ["max_merge_exceeded", "max_merge_bytes_exceeded", "max_merge_seconds_exceeded"];
    for (const code of codes) assert.equal(new ApiError(422, "", code).mergeIsTooLarge, true);
    for (const code of ["max_flame_nodes_exceeded", "too_many", ""]) {
      assert.equal(new ApiError(422, "", code).mergeIsTooLarge, false);
    }
  });
});
