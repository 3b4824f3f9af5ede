import { useRef } from "preact/hooks";
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
  const before = useRef<Partial<State> | null>(null); // what leaving the comparison restores
  const begin = (): void => {
    before.current = { labels: state.labels, selection: state.selection, groupBy: state.groupBy };
    update(startComparison(state, details));
  };
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
        onClick={() => (state.diff ? update(endComparison(state, before.current)) : begin())}
      >
        Compare
      </button>
    </div>
  );
}
