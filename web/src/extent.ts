import { fetchSeries } from "./api";
import { DEFAULT_STATE, type State, type TimeRange } from "./state";
import { formatSecond, parseTime } from "./times";

const MAX_ROUNDS = 6;

// Finds the time range from the first to the last profile of the state's service and type. It is accurate to a
// step of the timeline: each round requests a narrower range in smaller steps, until the step stays the same.
export async function findExtent(state: State): Promise<TimeRange> {
  const { service, profileType } = state;
  let range: TimeRange = { from: "0", to: "now" };
  let step = 0;
  for (let round = 0; round < MAX_ROUNDS; round++) {
    const series = await fetchSeries({ ...DEFAULT_STATE, service, profileType, range });
    const occupied = series.groups[0]!.profiles.map((_, i) => series.groups.some((group) => group.profiles[i]));
    const start = parseTime(series.start);
    range = {
      from: formatSecond(start + occupied.indexOf(true) * series.step),
      to: formatSecond(start + (occupied.lastIndexOf(true) + 1) * series.step - 1),
    };
    if (series.step === 1 || series.step === step) break;
    step = series.step;
  }
  return range;
}
