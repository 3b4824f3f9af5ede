import assert from "node:assert/strict";
import { afterEach, beforeEach, test } from "node:test";
import { apiKey, openKeyChannel, type KeyChannel } from "../src/apiKey";

// Another tab with a key of its own; both tabs are of one process here, so that it speaks the protocol itself.
let tab: BroadcastChannel;
let channel: KeyChannel;
let changes: number;

const nextMessage = (): Promise<unknown> =>
  new Promise((resolve) => (tab.onmessage = (event) => resolve(event.data)));
const nextChange = (): Promise<void> =>
  new Promise((resolve) => {
    const before = changes;
    const wait = (): unknown => (changes > before ? resolve() : setTimeout(wait, 1));
    wait();
  });

beforeEach(() => {
  apiKey.forget();
  changes = 0;
  tab = new BroadcastChannel("profbucket.key /query/");
  channel = openKeyChannel("/query/", () => changes++);
});
afterEach(() => {
  tab.close();
  channel.close();
});

test("a tab without a key asks, and takes the first answer", async () => {
  const asked = nextMessage();
  channel.ask();
  assert.deepEqual(await asked, { kind: "ask" });
  const changed = nextChange();
  tab.postMessage({ kind: "key", key: "pb_x" });
  await changed;
  assert.equal(apiKey.get(), "pb_x");
});

test("a tab with a key answers, and keeps its own", async () => {
  apiKey.set("pb_own");
  const answered = nextMessage();
  tab.postMessage({ kind: "key", key: "pb_other" });
  tab.postMessage({ kind: "ask" });
  assert.deepEqual(await answered, { kind: "key", key: "pb_own" });
  assert.equal(changes, 0);
});

test("all tabs forget the key together", async () => {
  apiKey.set("pb_own");
  const forgotten = nextMessage();
  channel.forget();
  assert.deepEqual(await forgotten, { kind: "forget" });
  const changed = nextChange();
  tab.postMessage({ kind: "forget" });
  await changed;
  assert.equal(apiKey.get(), "");
});
