import type { ServiceDetails } from "./api";
import { endComparison, startComparison } from "./comparison";
import { Select } from "./Select";
import type { State, UpdateState } from "./state";

interface Props {
  state: State;
  details: ServiceDetails | null;
  update: UpdateState;
}

// The label that groups the timeline, and the button that begins a comparison.
export function Grouping({ state, details, update }: Props) {
  const keys = details?.labels.map(({ key }) => key) ?? [];
  return (
    <div class="grouping">
      {keys.length > 0 && (
        <Select
          label="Group by"
          value={state.groupBy}
          options={["", ...keys]}
          emptyName="none"
          onChange={(groupBy) => update({ groupBy })}
        />
      )}
      <button
        type="button"
        aria-pressed={state.diff}
        onClick={() => update(state.diff ? endComparison() : startComparison(state, details))}
      >
        Compare
      </button>
    </div>
  );
}
