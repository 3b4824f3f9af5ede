import assert from "node:assert/strict";
import { test } from "node:test";
import { packageOf, sanitize, shortenValue, shortNames } from "../src/names";

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

test("a long value is shortened in the middle", () => {
  assert.equal(shortenValue("a".repeat(32)), "a".repeat(32));
  assert.equal(shortenValue(`${"a".repeat(32)}b`), `${"a".repeat(15)}…${"a".repeat(14)}b`);
  assert.equal(shortenValue("😀".repeat(9), 6), "😀😀…😀😀");
  assert.equal(shortenValue(""), "");
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
    "com.example.shop.Cart.price": "com.example.shop",
    "com.example.shop.Cart.lambda$price$0": "com.example.shop",
    "json.decoder.JSONDecoder.decode": "json.decoder",
    "shop.cart.price.<locals>.inner": "shop.cart",
    "Cart.price": "Cart",
    "a/.c": "a/",
    "[kernel.kallsyms]": "[kernel.kallsyms]",
    malloc: "malloc",
    ".hidden": ".hidden",
    "django.core.handlers.get_response": "django.core.handlers",
    "": "",
  };
  for (const [name, expected] of Object.entries(packages)) assert.equal(packageOf(name), expected, name);
});

test("a file of Go tells that the package ends at the first dot", () => {
  assert.equal(packageOf("main.run.func1", "/src/main.go"), "main");
  assert.equal(packageOf("main.run.func1", "main.py"), "main.run");
  assert.equal(packageOf("main.(*shop).handle.func1"), "main");
});

test("the short forms of a name drop one part after the other, from the left", () => {
  const names: Record<string, string[]> = {
    "runtime/pprof.Do": ["pprof.Do", "Do"],
    "main.(*shop).handle": ["(*shop).handle", "handle"],
    "example.org/a/b.(*T[go/ast.Node]).F": ["b.(*T[go/ast.Node]).F", "(*T[go/ast.Node]).F", "F"],
    "example.org/a/b.G[go/ast.Node]": ["b.G[go/ast.Node]", "G[go/ast.Node]"],
    "std::vector<int, std::allocator<int>>::push_back(std::string const&)": [
      "vector<int, std::allocator<int>>::push_back(std::string const&)",
      "push_back(std::string const&)",
    ],
    "T::operator->::x": ["operator->::x", "x"],
    "a/b<c/d>": ["b<c/d>"],
    "(x/y)": [],
    "a.": [],
    main: [],
  };
  for (const [name, expected] of Object.entries(names)) assert.deepEqual(shortNames(name), expected, name);
});
