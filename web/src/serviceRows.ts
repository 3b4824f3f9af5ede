// The rows of the list of services.

import type { Series, ServiceSummary } from "./api";
import { formatAgo, parseTime } from "./times";
import { formatValue } from "./units";

export interface Cpu {
  total: number; // nanoseconds
  profiles: number;
  values: (number | null)[]; // by step; null without profiles
  lastSeen: number; // the end of the last step with profiles, in unix seconds
}

// Returns the services whose name contains all words of a search, in the given order. Case is ignored.
export function searchServices(services: readonly ServiceSummary[], search: string): ServiceSummary[] {
  const words = search.toLowerCase().split(/\s+/).filter(Boolean);
  return services.filter(({ service }) => {
    const name = service.toLowerCase();
    return words.every((word) => name.includes(word));
  });
}

// Returns the services with the one that was last seen first. Those of unknown times are last.
export function sortByLastSeen(services: readonly ServiceSummary[]): ServiceSummary[] {
  return [...services].sort((a, b) => Number(a.last_seen < b.last_seen) - Number(a.last_seen > b.last_seen));
}

// Returns the CPU time of each service in *series*, whose groups are services.
export function cpuByService(series: Series): Map<string, Cpu> {
  const column = Math.max(
    series.sample_types.findIndex(({ type, unit }) => type === "cpu" && unit === "nanoseconds"),
    series.sample_types.findIndex(({ unit }) => unit === "nanoseconds"),
  );
  const start = parseTime(series.start);
  return new Map(
    series.groups
      .filter(({ others }) => !others)
      .map(({ labels, profiles, values: columns }) => {
        const values = profiles.map((count, step) => (count ? (columns[column]?.[step] ?? 0) : null));
        const cpu: Cpu = {
          total: values.reduce<number>((sum, value) => sum + (value ?? 0), 0),
          profiles: profiles.reduce((a, b) => a + b, 0),
          values,
          lastSeen: start + (profiles.findLastIndex((count) => count > 0) + 1) * series.step,
        };
        return [labels[0]!.value, cpu];
      }),
  );
}

// Returns when a service was last seen: as the timeline tells, or else roughly.
export function formatLastSeen(summary: ServiceSummary, cpu: Cpu | undefined, now: number): string {
  if (cpu) return formatAgo(Math.min(cpu.lastSeen, now), now);
  const latest = parseTime(summary.last_seen);
  if (Number.isNaN(latest)) return "unknown";
  return latest > now ? "today" : summary.last_seen.slice(0, 10);
}

// Returns how many profiles a CPU time is from, and how much each has on average.
export function formatProfiles({ total, profiles }: Cpu): string {
  if (profiles === 1) return "in 1 profile";
  return `in ${profiles} profiles, ${formatValue(total / profiles, "nanoseconds")} each on average`;
}

// Returns an SVG path of columns, in a box of *width* and *height*.
export function sparkline(values: readonly (number | null)[], width: number, height: number): string {
  const max = Math.max(1, ...values.map((value) => value ?? 0));
  const step = width / values.length;
  return values
    .map((value, i) => {
      if (value === null) return "";
      const size = Math.max(1, (value / max) * height);
      return `M${(i * step).toFixed(1)} ${height}v${(-size).toFixed(1)}h${Math.max(1, step).toFixed(1)}V${height}z`;
    })
    .join("");
}
