import type { Choices } from "./api";
import type { Matcher } from "./labels";
import { Pick } from "./Pick";
import type { Change, State } from "./state";

interface Props {
  state: State;
  choices: Choices | null;
  change: Change;
}

export function Grouping({ state, choices, change }: Props) {
  const labels = choices?.labels.map((one) => one.key) ?? [];
  return (
    <div class="grouping">
      {labels.length > 0 && (
        <Pick
          label="Group by"
          value={state.group}
          options={["", ...labels]}
          onChange={(group) => change({ group })}
        />
      )}
      <button
        type="button"
        aria-pressed={state.diff}
        onClick={() => change(state.diff ? endDiff() : beginDiff(state, choices))}
      >
        Compare
      </button>
    </div>
  );
}

function endDiff(): Partial<State> {
  return { diff: false, basePicked: null, baseLabels: [], zoom: "" };
}

// What most want to compare: the last two versions, or values of whatever label there is.
function beginDiff(state: State, choices: Choices | null): Partial<State> {
  const labels = choices?.labels.filter((one) => one.values.length > 1) ?? [];
  const label = ["version", state.group].map((wanted) => labels.find((one) => one.key === wanted)).find(Boolean);
  const diff = { diff: true, zoom: "", baseLabels: state.labels, basePicked: state.picked };
  if (!label || state.labels.some((one) => one.key === label.key)) return diff;
  const [before, now] = [...label.values].sort((a, b) => a.localeCompare(b, "en", { numeric: true })).slice(-2);
  const of = (value: string): Matcher[] => [...state.labels, { key: label.key, op: "=", value }];
  return { ...diff, labels: of(now!), baseLabels: of(before!), group: state.group || label.key };
}
