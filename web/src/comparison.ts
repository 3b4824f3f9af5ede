// The changes of state that begin and end a comparison.

import type { ServiceDetails } from "./api";
import { displayMatcher, type Matcher } from "./labels";
import type { State } from "./state";

// Compares the last two versions or, without such a label, the last two values of the label that groups the timeline.
// If neither has two values, or its label is selected already, both sides begin with the current selection.
export function startComparison(state: State, details: ServiceDetails | null): Partial<State> {
  const sides = { diff: true, zoom: "", baseLabels: state.labels, baseSelection: state.selection };
  const choices = details?.labels.filter(({ values }) => values.length > 1) ?? [];
  const label =
    choices.find(({ key }) => key === "version") ?? choices.find(({ key }) => key === state.groupBy) ?? null;
  if (!label || state.labels.some(({ key }) => key === label.key)) return sides;
  const [base, comparison] = [...label.values]
    .sort((a, b) => a.localeCompare(b, "en", { numeric: true }))
    .slice(-2);
  const withValue = (value: string): Matcher[] => [...state.labels, { key: label.key, op: "=", value }];
  return {
    ...sides,
    labels: withValue(comparison!),
    baseLabels: withValue(base!),
    groupBy: state.groupBy || label.key,
  };
}

// Restores *before*, what the comparison changed when it began. Without it, as after opening a link, the labels that
// both sides share stay.
export function endComparison(state: State, before: Partial<State> | null): Partial<State> {
  const shared = state.labels.filter((label) =>
    state.baseLabels.some((other) => displayMatcher(other) === displayMatcher(label)),
  );
  return { labels: shared, ...before, diff: false, baseSelection: null, baseLabels: [], zoom: "" };
}
