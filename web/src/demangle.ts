// Readable names of C++ and Rust functions, as `go tool pprof` shows them: without parameters and template arguments.

// Returns the name of a mangled function. Any other name, and what cannot be parsed, stays.
export function demangle(name: string): string {
  const mangled = /^_{1,2}(Z\w+|R\w+)(?:\.[\w.$]*)?$/.exec(name.slice(0, MAX_LENGTH))?.[1];
  const legacy = rustName(name);
  if (legacy ?? !mangled) return legacy ?? name;
  try {
    const parser = new (mangled[0] === "Z" ? CppParser : RustParser)(mangled.slice(1));
    return parser.parse() || name;
  } catch (error) {
    if (error instanceof Unparsable) return name;
    throw error;
  }
}

class Unparsable extends Error {}

const MAX_LENGTH = 4000;
const MAX_DEPTH = 100; // of types in types
const RUST_HASH = /^_{1,2}ZN([\w.$]+)17h[0-9a-f]{16}E/;
const RUST_ESCAPES: Record<string, string> = {
  SP: "@",
  BP: "*",
  RF: "&",
  LT: "<",
  GT: ">",
  LP: "(",
  RP: ")",
  C: ",",
};

// Returns the name of a Rust function of the older scheme: parts with their lengths, and a hash. Null for others.
function rustName(name: string): string | null {
  let rest = RUST_HASH.exec(name)?.[1];
  if (rest === undefined) return null;
  const parts: string[] = [];
  while (rest) {
    const length = /^\d+/.exec(rest)?.[0] ?? "";
    const end = length.length + Number(length);
    if (!length || end > rest.length) return null;
    parts.push(rest.slice(length.length, end));
    rest = rest.slice(end);
  }
  return parts
    .join("::")
    .replace(/(^|::)_\$/g, "$1$")
    .replace(/\$([A-Z]+)\$/g, (escape, code: string) => RUST_ESCAPES[code] ?? escape)
    .replace(/\$u([0-9a-f]{1,4})\$/g, (_, code: string) => String.fromCharCode(parseInt(code, 16)))
    .replaceAll("..", "::");
}

class Parser {
  protected position = 0;
  private depth = 0;

  constructor(protected readonly text: string) {}

  protected peek(length = 1): string {
    return this.text.slice(this.position, this.position + length);
  }

  protected take(text: string): boolean {
    if (!this.text.startsWith(text, this.position)) return false;
    this.position += text.length;
    return true;
  }

  protected match(pattern: RegExp): string {
    const found = pattern.exec(this.text.slice(this.position))?.[0];
    if (found === undefined) throw new Unparsable();
    this.position += found.length;
    return found;
  }

  // Returns a name that has its length in front, and in Rust perhaps a separator.
  protected identifier(separated = false): string {
    const length = Number(this.match(/^\d+/));
    if (separated) this.take("_");
    if (this.position + length > this.text.length) throw new Unparsable();
    this.position += length;
    return this.text.slice(this.position - length, this.position);
  }

  protected nested<T>(parse: () => T): T {
    if (++this.depth > MAX_DEPTH) throw new Unparsable();
    const result = parse();
    this.depth--;
    return result;
  }
}

const CPP_ABBREVIATIONS: Record<string, string> = {
  t: "std",
  a: "std::allocator",
  b: "std::basic_string",
  s: "std::string",
  i: "std::istream",
  o: "std::ostream",
  d: "std::iostream",
};
const CPP_OPERATORS: Record<string, string> = {
  nw: " new",
  na: " new[]",
  dl: " delete",
  da: " delete[]",
  cl: "()",
  ix: "[]",
  pt: "->",
  de: "*",
  ml: "*",
  pl: "+",
  mi: "-",
  dv: "/",
  rm: "%",
  eq: "==",
  ne: "!=",
  lt: "<",
  gt: ">",
  le: "<=",
  ge: ">=",
  ss: "<=>",
  ls: "<<",
  rs: ">>",
  aS: "=",
  pL: "+=",
  mI: "-=",
  pp: "++",
  mm: "--",
  nt: "!",
  aa: "&&",
  oo: "||",
  an: "&",
  or: "|",
  eo: "^",
  co: "~",
};

// The Itanium C++ ABI. Only names are built; types are skipped.
class CppParser extends Parser {
  parse(): string {
    return this.name();
  }

  private name(): string {
    return this.nested(() => {
      if (this.take("Z")) return this.localName();
      if (this.take("N")) return this.nestedName();
      const prefix = this.take("St") ? "std::" : "";
      const name = prefix + this.unqualifiedName("");
      if (this.peek() === "I") this.skipArguments();
      return name;
    });
  }

  private localName(): string {
    const enclosing = this.name();
    while (!this.take("E")) this.skipType();
    if (this.take("s")) return enclosing;
    return `${enclosing}::${this.name()}`;
  }

  private nestedName(): string {
    this.match(/^[rVK]*[RO]?/);
    const parts: string[] = [];
    while (!this.take("E")) {
      if (this.peek() === "I") this.skipArguments();
      else if (this.peek() === "S") parts.push(this.substitution());
      else parts.push(this.unqualifiedName(parts.at(-1) ?? ""));
    }
    return parts.join("::");
  }

  private unqualifiedName(enclosing: string): string {
    let name: string;
    this.take("L"); // internal linkage
    if (/^\d/.test(this.peek())) name = this.identifier();
    else if (this.take("Ul")) {
      while (!this.take("E")) this.skipType();
      this.match(/^\d*_/);
      name = "{lambda}";
    } else if (this.take("Ut")) {
      this.match(/^\d*_/);
      name = "{unnamed}";
    } else if (/^[CD]\d/.test(this.peek(2))) {
      name = (this.match(/^[CD]\d/).startsWith("D") ? "~" : "") + enclosing;
    } else {
      const operator = CPP_OPERATORS[this.match(/^[a-z][a-zA-Z]/)];
      if (operator === undefined) throw new Unparsable();
      name = `operator${operator}`;
    }
    while (this.take("B")) this.identifier(); // ABI tags
    return name.startsWith("_GLOBAL__N") ? "(anonymous namespace)" : name;
  }

  private substitution(): string {
    const code = this.match(/^S(?:[a-z]|[0-9A-Z]*_)/).slice(1);
    const name = CPP_ABBREVIATIONS[code];
    if (name === undefined) throw new Unparsable();
    return name;
  }

  private skipArguments(): void {
    this.match(/^[IJ]/);
    while (!this.take("E")) this.skipArgument();
  }

  private skipArgument(): void {
    if (this.peek() === "J") this.skipArguments();
    else if (this.take("L")) {
      if (this.take("_Z")) {
        this.name();
        while (!this.take("E")) this.skipType();
      } else {
        this.skipType();
        this.match(/^n?[0-9a-f]*E/);
      }
    } else this.skipType();
  }

  private skipType(): void {
    this.nested(() => {
      this.match(/^(?:[PROKVrGC]|Dp)*/);
      if (/^[\dNZ]/.test(this.peek())) {
        this.name();
      } else if (this.peek() === "S") {
        const code = this.match(/^S(?:[a-z]|[0-9A-Z]*_)/);
        if (code === "St") this.unqualifiedName("");
      } else if (this.take("F")) {
        this.take("Y");
        while (!this.take("E")) this.skipType();
      } else if (this.take("A")) {
        this.match(/^\d*_/);
        this.skipType();
      } else if (this.take("M")) {
        this.skipType();
        this.skipType();
      } else {
        this.match(/^(?:T\d*_|D[nacdefhisu]|u\d+|[a-z])/);
      }
      if (this.peek() === "I") this.skipArguments();
    });
  }
}

// Rust's scheme "v0". Paths are built; generic arguments and other types than paths are not.
class RustParser extends Parser {
  parse(): string {
    return this.path();
  }

  private path(): string {
    return this.nested(() => {
      if (this.take("C")) {
        this.disambiguator();
        return this.identifier(true);
      }
      if (this.take("N")) {
        const space = this.match(/^[a-zA-Z]/);
        const parent = this.path();
        this.disambiguator();
        const name = this.identifier(true);
        return `${parent}::${space === "C" ? "{closure}" : name}`;
      }
      if (this.take("I")) {
        const name = this.path();
        while (!this.take("E")) this.skipArgument();
        return name;
      }
      if (this.take("M")) {
        this.implementation();
        return `<${this.type()}>`;
      }
      if (this.peek() === "X" || this.peek() === "Y") {
        if (this.match(/^[XY]/) === "X") this.implementation();
        const type = this.type();
        return `<${type} as ${this.path()}>`;
      }
      return this.backReference(() => this.path());
    });
  }

  private implementation(): void {
    this.disambiguator();
    this.path();
  }

  private disambiguator(): void {
    if (this.peek() === "s") this.match(/^s[0-9a-zA-Z]*_/);
    this.take("u"); // Punycode stays
  }

  private backReference<T>(parse: () => T): T {
    const digits = this.match(/^B[0-9a-zA-Z]*_/).slice(1, -1);
    const end = this.position;
    let target = 0;
    for (const digit of digits) target = target * 62 + BASE_62.indexOf(digit);
    this.position = digits ? target + 1 : 0;
    if (this.position >= end - digits.length - 2) throw new Unparsable();
    const result = parse();
    this.position = end;
    return result;
  }

  private type(): string {
    return this.nested(() => {
      if (/^[CNIMXY]/.test(this.peek())) return this.path();
      if (this.peek() === "B") return this.backReference(() => this.type());
      if (/^[RQ]/.test(this.peek())) {
        const reference = this.match(/^[RQ](?:L[0-9a-zA-Z]*_)?/);
        return `&${reference.startsWith("Q") ? "mut " : ""}${this.type()}`;
      }
      if (this.take("S")) return `[${this.type()}]`;
      const basic = RUST_TYPES[this.match(/^[a-z]/)];
      if (basic === undefined) throw new Unparsable();
      return basic;
    });
  }

  private skipArgument(): void {
    if (this.take("L")) this.match(/^[0-9a-zA-Z]*_/);
    else if (this.take("K")) this.match(/^(?:[a-z]n?[0-9a-f]*_|p)/);
    else this.type();
  }
}

const BASE_62 = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
const RUST_TYPES: Record<string, string> = {
  a: "i8",
  b: "bool",
  c: "char",
  d: "f64",
  e: "str",
  f: "f32",
  h: "u8",
  i: "isize",
  j: "usize",
  l: "i32",
  m: "u32",
  n: "i128",
  o: "u128",
  s: "i16",
  t: "u16",
  u: "()",
  v: "...",
  x: "i64",
  y: "u64",
  z: "!",
  p: "_",
};
