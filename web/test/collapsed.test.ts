import assert from "node:assert/strict";
import { test } from "node:test";
import { joinCollapsed } from "../src/collapsed";

test("stacks of both sides have two values, the base's first", () => {
  const base = "main;a 5\nmain;b with blanks 3\n";
  const comparison = "main;a 7\nmain;c -2\n<no stack> 1\n";
  assert.equal(
    joinCollapsed(base, comparison),
    "<no stack> 0 1\nmain;a 5 7\nmain;b with blanks 3 0\nmain;c 0 -2\n",
  );
});

test("names and values are kept as they are", () => {
  const value = "9007199254740993"; // beyond the integers of a double
  assert.equal(joinCollapsed(`__proto__ ${value}\n`, ""), `__proto__ ${value} 0\n`);
  assert.equal(joinCollapsed("", ""), "");
});
