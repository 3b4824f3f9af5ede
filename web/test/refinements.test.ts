import assert from "node:assert/strict";
import { test } from "node:test";
import { refine, refineByFunction, refineByTag, withoutTags } from "../src/refinements";

test("a refinement is changed, or removed by an empty text", () => {
  assert.deepEqual(refine({ hide: "a" }, "focus", "b"), { hide: "a", focus: "b" });
  assert.deepEqual(refine({ hide: "a", focus: "b" }, "hide", ""), { focus: "b" });
});

test("a function is matched as a whole; several are ignored or hidden, one has the focus", () => {
  assert.deepEqual(refineByFunction({}, "focus", "main.(*T).f"), { focus: "^main\\.\\(\\*T\\)\\.f$" });
  assert.deepEqual(refineByFunction({ focus: "x" }, "focus", "größe"), { focus: "^größe$" });
  assert.deepEqual(refineByFunction({ ignore: "x" }, "ignore", "f"), { ignore: "x|^f$" });
  assert.deepEqual(refineByFunction({ hide: "x" }, "hide", "f"), { hide: "x|^f$" });
});

test("a tag is selected by its key and whole value", () => {
  assert.deepEqual(refineByTag({}, "tagfocus", "endpoint", { value: "/a,b" }), {
    tagfocus: "endpoint=^\\/a\\x2cb$",
  });
  assert.deepEqual(refineByTag({}, "tagignore", "bytes", { value: "64B", number: 64 }), {
    tagignore: "bytes=64B",
  });
  assert.deepEqual(refineByTag({}, "tagfocus", "a", { value: "" }), { tagfocus: "a=^$" });
});

test("tags are listed without the refinements that look at tags", () => {
  assert.deepEqual(withoutTags({ focus: "a", tagfocus: "b", tagroot: "c", show_from: "d" }), {
    focus: "a",
    show_from: "d",
  });
});
