import assert from "node:assert/strict";
import { test } from "node:test";
import { demangle } from "../src/demangle";

const NAMES: Record<string, string> = {
  // C++, as c++filt has them, without parameters and template arguments.
  _Z3foov: "foo",
  _ZN4shop4Cart5priceEi: "shop::Cart::price",
  _ZNK4shop4Cart5totalEv: "shop::Cart::total",
  _ZNSt6vectorIiSaIiEE9push_backERKi: "std::vector::push_back",
  _ZNSt6vectorIiSaIiEE9push_backEOi: "std::vector::push_back",
  _ZN4shop4CartC2ERKSs: "shop::Cart::Cart",
  _ZN4shop4CartD1Ev: "shop::Cart::~Cart",
  _ZN12_GLOBAL__N_13runEv: "(anonymous namespace)::run",
  _ZNSt7__cxx1112basic_stringIcSt11char_traitsIcESaIcEE9_M_appendEPKcm: "std::__cxx11::basic_string::_M_append",
  _ZZ4mainENKUlvE_clEv: "main::{lambda}::operator()",
  _ZZN4shop3runEiENKUliE0_clEi: "shop::run::{lambda}::operator()",
  _ZN5arrayIiLj4EE2atEm: "array::at",
  _ZSt4sortIPiEvT_S1_: "std::sort",
  _Znwm: "operator new",
  _ZN4shoplsERSoRKNS_4CartE: "shop::operator<<",
  "_ZN4shop4Cart5priceEi.cold": "shop::Cart::price",
  "_ZN4shop4Cart5priceEi.part.0": "shop::Cart::price",
  // Rust, in both schemes.
  _ZN4core3fmt9Formatter3pad17h0123456789abcdefE: "core::fmt::Formatter::pad",
  "_ZN58_$LT$alloc..string..String$u20$as$u20$core..fmt..Write$GT$9write_str17h0123456789abcdefE":
    "<alloc::string::String as core::fmt::Write>::write_str",
  _RNvNtCs1234_7mycrate3foo3bar: "mycrate::foo::bar",
  _RNvCs1234_7mycrate4main: "mycrate::main",
  _RINvNtC3std3mem8align_ofdE: "std::mem::align_of",
  _RNvMs_C7mycrateNtB4_4Cart5price: "<mycrate::Cart>::price",
  _RNCNvC7mycrate4main0B3_: "mycrate::main::{closure}",
  _RNvXC7mycrateNtB2_4CartNtC3std4Drop4drop: "<mycrate::Cart as std::Drop>::drop",
};

test("mangled names are readable", () => {
  for (const [name, expected] of Object.entries(NAMES)) assert.equal(demangle(name), expected, name);
});

test("other and malformed names stay", () => {
  const names = ["main.main", "_Z", "_ZN", "_ZN4shop", "_ZN99shopE", "_ZNS_1aEv", "_R", "_RB_", "_RNvB_1a", ""];
  names.push(`_R${"N".repeat(5000)}`, "_ZN1aI", `_ZN1a${"I".repeat(300)}E`, "malloc");
  for (const name of names) assert.equal(demangle(name), name, name);
});

test("no text makes it fail or take long", () => {
  const pieces = [
    "_Z",
    "_R",
    "N",
    "I",
    "E",
    "S_",
    "St",
    "1a",
    "Z",
    "Ul",
    "L",
    "B_",
    "C",
    "X",
    "M",
    "s_",
    "17h",
    "$",
    "T_",
  ];
  let seed = 1;
  for (let round = 0; round < 20_000; round++) {
    let name = round % 2 ? "_Z" : "_R";
    for (let i = 0; i < 30; i++) {
      seed = (seed * 1103515245 + 12345) & 0x7fffffff;
      name += pieces[seed % pieces.length]!;
    }
    assert.equal(typeof demangle(name), "string");
  }
});
