import type { Choices } from "./api";
import { Filters } from "./Filters";
import type { Matcher } from "./labels";
import { Picked } from "./Ranges";
import type { Change, Span, State } from "./state";

interface Props {
  state: State;
  choices: Choices | null;
  change: Change;
  children: preact.ComponentChildren;
}

// The timeline, and below it which labels and which part of the time are looked at: of one side or of two.
export function Sides({ state, choices, change, children }: Props) {
  const { range, picked, basePicked, diff } = state;
  const set = (name: "labels" | "baseLabels") => (matchers: Matcher[]) => change({ [name]: matchers, zoom: "" });
  const pick = (name: "picked" | "basePicked") => (span: Span | null) => change({ [name]: span, zoom: "" });
  return (
    <section class="explore" aria-label="Timeline">
      {children}
      <div class="sides">
        {diff && (
          <div class="side base">
            <Filters
              title="Base"
              kind="base"
              matchers={state.baseLabels}
              choices={choices}
              onChange={set("baseLabels")}
            />
            <Picked name="Base time" kind="base" picked={basePicked} range={range} onChange={pick("basePicked")} />
          </div>
        )}
        <div class="side now">
          <Filters
            title={diff ? "Now" : "Labels"}
            kind="now"
            matchers={state.labels}
            choices={choices}
            onChange={set("labels")}
          />
          <Picked
            name={diff ? "Time now" : "Time"}
            kind="now"
            picked={picked}
            range={range}
            onChange={pick("picked")}
            {...(diff ? {} : { onZoom: () => picked && change({ range: picked, picked: null }) })}
          />
        </div>
        {diff && (
          <fieldset class="drags">
            <legend>Dragging selects</legend>
            {(["base", "now"] as const).map((one) => (
              <label key={one}>
                <input
                  type="radio"
                  name="drag"
                  checked={state.drag === one}
                  onChange={() => change({ drag: one }, false)}
                />
                {one}
              </label>
            ))}
          </fieldset>
        )}
      </div>
    </section>
  );
}
