import assert from "node:assert/strict";
import { test } from "node:test";
import { packageOf, sanitize, shortName } from "../src/names";

test("control, invisible and bidirectional characters are replaced", () => {
  const unsafe = [
    0x00, 0x1b, 0x1f, 0x7f, 0x85, 0x9f, 0x61c, 0x200b, 0x200f, 0x2028, 0x202e, 0x2060, 0x2066, 0x2069, 0xfeff,
  ];
  for (const code of unsafe) {
    assert.equal(sanitize(`a${String.fromCharCode(code)}b`), "a\ufffdb", code.toString(16));
  }
});

test("other text stays as it is", () => {
  for (const text of ["main.(*T).F", "<b>&amp;", "שלום", "größe 日本 😀", " ~\u00a0", ""])
    assert.equal(sanitize(text), text);
});

test("the package of a function", () => {
  const packages: Record<string, string> = {
    "main.main": "main",
    "runtime/pprof.Do": "runtime/pprof",
    "example.org/a.b/c.(*T).F": "example.org/a.b/c",
    "std::vector<int>::push_back": "std",
    "a::b": "a",
    "::operator new": "::operator new",
    "::a::b": "::a::b",
    "a.b": "a",
    "a./c": "a./c",
    "a/.c": "a/",
    "[kernel.kallsyms]": "[kernel.kallsyms]",
    malloc: "malloc",
    ".hidden": ".hidden",
    "django.core.handlers.get_response": "django",
    "": "",
  };
  for (const [name, expected] of Object.entries(packages)) assert.equal(packageOf(name), expected, name);
});

test("the short name of a function", () => {
  const names: Record<string, string> = {
    "runtime/pprof.Do": "pprof.Do",
    "main.main": "main.main",
    "example.org/a/b.(*T[go/ast.Node]).F": "b.(*T[go/ast.Node]).F",
    "example.org/a/b.G[go/ast.Node]": "b.G[go/ast.Node]",
    "a/b<c/d>": "b<c/d>",
    "(x/y)": "(x/y)",
  };
  for (const [name, expected] of Object.entries(names)) assert.equal(shortName(name), expected, name);
});
