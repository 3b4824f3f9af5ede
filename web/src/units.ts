// Values with units, similar to those of `go tool pprof`: 1.23 s, 512.2 kB.

type Scale = [unit: string, factor: number][]; // in ascending order

const BYTES: Scale = ["B", "kB", "MB", "GB", "TB", "PB"].map((unit, i) => [unit, 1024 ** i]);
const NANOSECONDS: Scale = [
  ["ns", 1],
  ["µs", 1e3],
  ["ms", 1e6],
  ["s", 1e9],
  ["min", 60e9],
  ["h", 3600e9],
];
const COUNT: Scale = [
  ["", 1],
  ["k", 1e3],
  ["M", 1e6],
  ["G", 1e9],
  ["T", 1e12],
];
// Units of sample types, each with the scale that displays it and the factor to the scale's smallest unit.
const UNITS = new Map<string, [Scale, number]>([
  ["nanoseconds", [NANOSECONDS, 1]],
  ["microseconds", [NANOSECONDS, 1e3]],
  ["milliseconds", [NANOSECONDS, 1e6]],
  ["seconds", [NANOSECONDS, 1e9]],
  ["bytes", [BYTES, 1]],
  ["kilobytes", [BYTES, 1024]],
  ["count", [COUNT, 1]],
]);

const MAX_TICK_STEPS = 4;

export function formatValue(value: number, unit: string): string {
  const [scale, factor] = UNITS.get(unit) ?? [COUNT, 1];
  const size = Math.abs(value) * factor;
  const [prefix, divisor] = scale.findLast(([, least]) => size >= least) ?? scale[0]!;
  const scaled = size / divisor;
  const digits = Number.isInteger(scaled) || scaled >= 1000 ? 0 : scaled >= 100 ? 1 : 2;
  const number = `${value < 0 ? "−" : ""}${scaled.toFixed(digits)}`;
  if (!UNITS.has(unit) && unit) return `${number}${size ? prefix : ""} ${unit}`;
  if (!size) return number;
  return scale === COUNT ? `${number}${prefix}` : `${number} ${prefix}`;
}

export function formatSigned(value: number, unit: string): string {
  return value > 0 ? `+${formatValue(value, unit)}` : formatValue(value, unit);
}

export function fraction(value: number, total: number): number {
  return total ? value / total : 0;
}

export function formatPercent(part: number, signed = false): string {
  const value = part * 100;
  const size = Math.abs(value);
  const text = size >= 99.95 ? size.toFixed(0) : size >= 0.095 || !size ? size.toFixed(1) : size.toFixed(2);
  const sign = Number(text) === 0 ? "" : value < 0 ? "−" : signed ? "+" : "";
  return `${sign}${text}%`;
}

// Returns round values from 0 up to at least *max*, with at most four steps between them.
export function roundTicks(max: number, unit: string): number[] {
  const [scale, factor] = UNITS.get(unit) ?? [COUNT, 1];
  const [, divisor] = scale.findLast(([, least]) => max * factor >= least) ?? scale[0]!;
  const scaled = Math.max((max * factor) / divisor, Number.MIN_VALUE);
  const power = 10 ** Math.floor(Math.log10(scaled / MAX_TICK_STEPS));
  let step = power * ([1, 2, 2.5, 5].find((digit) => digit * power * MAX_TICK_STEPS >= scaled) ?? 10);
  if (divisor === 1) step = Math.max(1, Math.ceil(step)); // there is no half of a byte
  const count = Math.max(1, Math.ceil(scaled / step - 1e-9));
  return Array.from({ length: count + 1 }, (_, i) => (i * step * divisor) / factor);
}
