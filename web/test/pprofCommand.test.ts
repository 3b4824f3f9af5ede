import assert from "node:assert/strict";
import { beforeEach, test } from "node:test";
import { pprofCommand } from "../src/pprofCommand";
import { DEFAULT_STATE, type State } from "../src/state";

const STATE: State = {
  ...DEFAULT_STATE,
  service: "shop",
  profileType: "cpu",
  labels: [{ key: "version", op: "=", value: "it's" }],
};
const MERGE = "http://localhost:10100/api/0/profiles/merge?service=shop&type=cpu&from=now-1h";
const URL = `${MERGE}&labels=version%3Dit%2527s&aggregate=auto`;
const ALL = `${MERGE}&aggregate=auto`;

beforeEach(() => Object.assign(globalThis, { document: { baseURI: "http://localhost:10100/" } }));

test("a URL is in single quotes, and holds none", () => {
  assert.equal(pprofCommand(STATE, false), `go tool pprof '${URL}'`);
});

test("with a key, the shell expands a variable", () => {
  const url = URL.replace("://", "://x:$PROFBUCKET_KEY@");
  assert.equal(pprofCommand(STATE, true), `go tool pprof "${url}"`);
});

test("a diff has a base", () => {
  assert.equal(pprofCommand({ ...STATE, diff: true }, false), `go tool pprof -base '${ALL}' '${URL}'`);
});

test("a sample type is quoted if it is not a word", () => {
  const command = (sampleType: string): string => pprofCommand({ ...STATE, sampleType, labels: [] }, false);
  assert.equal(command("alloc_space"), `go tool pprof -sample_index=alloc_space '${ALL}'`);
  assert.equal(command("$(x) it's"), `go tool pprof -sample_index='$(x) its' '${ALL}'`);
});
