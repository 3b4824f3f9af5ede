import assert from "node:assert/strict";
import { test } from "node:test";
import { itemsOf } from "../src/storage";

test("blocked storage lasts as long as the page", () => {
  const items = itemsOf(() => {
    throw new DOMException("denied", "SecurityError");
  });
  assert.equal(items.get("a"), null);
  items.set("a", "1");
  assert.equal(items.get("a"), "1");
  items.set("a", null);
  assert.equal(items.get("a"), null);
});

test("what a full storage refuses lasts as long as the page", () => {
  const full = { getItem: () => null, setItem: () => assert.fail("full"), removeItem: () => undefined };
  const items = itemsOf(() => full as unknown as Storage);
  items.set("a", "1");
  assert.equal(items.get("a"), "1");
});
