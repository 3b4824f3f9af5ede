// Values as `go tool pprof` writes them: 1.23s, 512.17kB.

const BYTES: [string, number][] = ["B", "kB", "MB", "GB", "TB", "PB"].map((name, i) => [name, 1024 ** i]);
const TIME: [string, number][] = [
  ["ns", 1],
  ["µs", 1e3],
  ["ms", 1e6],
  ["s", 1e9],
  ["min", 60e9],
  ["h", 3600e9],
];
const COUNT: [string, number][] = [
  ["", 1],
  ["k", 1e3],
  ["M", 1e6],
  ["G", 1e9],
  ["T", 1e12],
];
const FAMILIES: Record<string, [[string, number][], number]> = {
  nanoseconds: [TIME, 1],
  microseconds: [TIME, 1e3],
  milliseconds: [TIME, 1e6],
  seconds: [TIME, 1e9],
  bytes: [BYTES, 1],
  kilobytes: [BYTES, 1024],
  count: [COUNT, 1],
};

export function shownValue(value: number, unit: string): string {
  const [family, factor] = FAMILIES[unit] ?? [COUNT, 1];
  const size = Math.abs(value) * factor;
  const [name, scale] = family.findLast(([, least]) => size >= least) ?? family[0]!;
  const number = size / scale;
  const digits = Number.isInteger(number) || number >= 1000 ? 0 : number >= 100 ? 1 : 2;
  const rest = FAMILIES[unit] || !unit ? "" : ` ${unit}`;
  return `${value < 0 ? "−" : ""}${number.toFixed(digits)}${family === COUNT || !size ? "" : " "}${size ? name : ""}${rest}`;
}

export function signedValue(value: number, unit: string): string {
  return value > 0 ? `+${shownValue(value, unit)}` : shownValue(value, unit);
}

export function share(value: number, total: number): number {
  return total ? value / total : 0;
}

export function percent(fraction: number, signed = false): string {
  const value = fraction * 100;
  const size = Math.abs(value);
  const text = size >= 99.95 ? size.toFixed(0) : size >= 0.095 || !size ? size.toFixed(1) : size.toFixed(2);
  const sign = Number(text) === 0 ? "" : value < 0 ? "−" : signed ? "+" : "";
  return `${sign}${text}%`;
}
