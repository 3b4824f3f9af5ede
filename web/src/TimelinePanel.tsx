import type { Series } from "./api";
import { latestValue, type Fetched } from "./hooks";
import type { State, UpdateState } from "./state";
import { Timeline } from "./Timeline";
import { firstSights } from "./timelineChart";

interface Props {
  state: State;
  update: UpdateState;
  series: Fetched<Series>;
  versions: Fetched<Series>; // the same by version
  sampleType: string;
  showError: boolean; // false if the flame graph shows one, too
}

// The timeline with the selected ranges and the versions, or why there is none.
export function TimelinePanel({ state, update, series, versions, sampleType, showError }: Props) {
  const timeline = latestValue(series);
  if (!timeline) {
    return (
      <div class="timeline empty" aria-busy={series.state === "loading"}>
        {series.state === "failed" && showError && <p class="note">{series.error.message}</p>}
      </div>
    );
  }
  const byVersion = latestValue(versions);
  const base = { side: "base" as const, range: state.baseSelection, name: "base" };
  const comparison = {
    side: "comparison" as const,
    range: state.selection,
    name: state.diff ? "comparison" : "",
  };
  return (
    <Timeline
      series={timeline}
      sampleType={sampleType}
      bands={state.diff ? [base, comparison] : [comparison]}
      markers={
        byVersion?.start === timeline.start && byVersion.step === timeline.step ? firstSights(byVersion) : []
      }
      onDrag={(range) =>
        update(
          state.diff && state.dragTarget === "base"
            ? { baseSelection: range, zoom: "" }
            : { selection: range, zoom: "" },
        )
      }
    />
  );
}
