import type { ComponentChildren } from "preact";
import type { ServiceDetails } from "./api";
import { LabelFilters } from "./LabelFilters";
import { RefinementFilters } from "./RefinementFilters";
import type { State, UpdateState } from "./state";
import { SelectionPicker } from "./TimeRanges";

interface Props {
  state: State;
  details: ServiceDetails | null;
  update: UpdateState;
  children: ComponentChildren;
}

// The timeline and, below it, the labels and time range that select profiles; in a diff, those of both sides.
export function Selections({ state, details, update, children }: Props) {
  const { range, selection, baseSelection, diff } = state;
  return (
    <section class="selections" aria-label="Timeline">
      {children}
      <div class="sides">
        {diff && (
          <div class="side base">
            <LabelFilters
              title="Base"
              matchers={state.baseLabels}
              details={details}
              onChange={(baseLabels) => update({ baseLabels, zoom: "" })}
            />
            <SelectionPicker
              name="Base time"
              selection={baseSelection}
              range={range}
              onChange={(changed) => update({ baseSelection: changed, zoom: "" })}
            />
          </div>
        )}
        <div class="side comparison">
          <LabelFilters
            title={diff ? "Comparison" : "Labels"}
            matchers={state.labels}
            details={details}
            onChange={(labels) => update({ labels, zoom: "" })}
          />
          <SelectionPicker
            name={diff ? "Comparison time" : "Time"}
            selection={selection}
            range={range}
            onChange={(changed) => update({ selection: changed, zoom: "" })}
            {...(diff ? {} : { onZoom: () => selection && update({ range: selection, selection: null }) })}
          />
        </div>
        {diff && (
          <fieldset class="drag-target">
            <legend>Dragging selects</legend>
            {(["base", "comparison"] as const).map((side) => (
              <label key={side}>
                <input
                  type="radio"
                  name="drag-target"
                  checked={state.dragTarget === side}
                  onChange={() => update({ dragTarget: side }, false)}
                />
                {side}
              </label>
            ))}
          </fieldset>
        )}
      </div>
      <RefinementFilters state={state} update={update} />
    </section>
  );
}
