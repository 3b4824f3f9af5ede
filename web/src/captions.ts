// What an exported image shows, in words.

import type { FlameGraphData } from "./api";
import { SIDE_NAMES } from "./frames";
import { formatMatchers } from "./labels";
import { sanitize } from "./names";
import { pinRange } from "./times";
import type { State } from "./state";
import { formatValue } from "./units";

// Returns a line about the profile, and one about each side with its total. *now* is in unix seconds.
export function describeSelection(state: State, data: FlameGraphData, now: number): string[] {
  const { service, profileType, refinements, focus } = state;
  const filters = Object.entries(refinements).map(([name, text]) => `${name}=${text}`);
  if (focus) filters.push(`function ${focus}`);
  const sides = data.totals.map((total, side) => {
    const range = pinRange((side ? state.baseSelection : state.selection) ?? state.range, now);
    const labels = formatMatchers(side ? state.baseLabels : state.labels);
    const parts = [
      data.totals.length > 1 ? `${SIDE_NAMES[side]}: ` : "",
      `${formatValue(total, data.sample_type.unit)}, ${data.profiles[side]!.aggregate || "sum"}`,
      `, ${range.from} to ${range.to} UTC`,
      labels && `, ${labels}`,
    ];
    return parts.join("");
  });
  return [[service, profileType, data.sample_type.type, ...filters].join(" "), ...sides].map(sanitize);
}
