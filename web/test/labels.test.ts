import assert from "node:assert/strict";
import { test } from "node:test";
import {
  displayMatcher,
  formatMatchers,
  OPERATORS,
  parseMatchers,
  percentEncode,
  type Matcher,
} from "../src/labels";

const TEXTS = ["v", "a,b=c", "100%", "!=~", "it's", "größe", "a b+c", "", "(x*)", "\u0000", "=~", "x!", "日本"];

test("matchers of any text are read as they were written", () => {
  for (const op of OPERATORS) {
    for (const key of TEXTS.filter(Boolean)) {
      for (const value of TEXTS) {
        const matchers: Matcher[] = [
          { key, op, value },
          { key: "version", op: "=", value: "0.0.1" },
        ];
        assert.deepEqual(parseMatchers(formatMatchers(matchers)), matchers);
      }
    }
  }
});

test("matchers are written as the API reads them", () => {
  const matchers: Matcher[] = [
    { key: "a", op: "=", value: "1,2" },
    { key: "b c", op: "!~", value: "x.*" },
  ];
  assert.equal(formatMatchers(matchers), "a=1%2C2,b%20c!~x.%2A");
  assert.equal(formatMatchers([]), "");
});

test("matchers that were typed into the URL are read", () => {
  assert.deepEqual(parseMatchers("a!b=c"), [{ key: "a!b", op: "=", value: "c" }]);
  assert.deepEqual(parseMatchers("a=b=c"), [{ key: "a", op: "=", value: "b=c" }]);
  assert.deepEqual(parseMatchers("a=x+y"), [{ key: "a", op: "=", value: "x y" }]);
  assert.deepEqual(parseMatchers("a=%zz"), [{ key: "a", op: "=", value: "%zz" }]);
  assert.deepEqual(parseMatchers("a!=b,c=~d"), [
    { key: "a", op: "!=", value: "b" },
    { key: "c", op: "=~", value: "d" },
  ]);
});

test("malformed matchers are skipped", () => {
  assert.deepEqual(parseMatchers(""), []);
  assert.deepEqual(parseMatchers("nonsense,=x,a=b"), [{ key: "a", op: "=", value: "b" }]);
});

test("nothing that a shell or the API's parser reads is left in the encoding", () => {
  assert.equal(percentEncode("!'()*~"), "%21%27%28%29%2A%7E");
  assert.match(percentEncode(` \t\n"#$&'()*+,/:;<=>?[\\]^\`{|}~!%@ä`), /^(%[0-9A-F]{2})+$/);
  assert.equal(percentEncode("aZ09-._"), "aZ09-._");
});

test("a matcher is shown as people write it", () => {
  assert.equal(displayMatcher({ key: "version", op: "!=", value: "a,b" }), "version!=a,b");
  assert.equal(displayMatcher({ key: "version", op: "=", value: "" }), 'version=""');
});
