import { series } from "./api";
import { START, type Span, type State } from "./state";
import { isoSecond, secondsOf } from "./times";

const ROUNDS = 6; // of which each finds the ends two hundred times as exactly

// From the first profile of a service and type to the last.
export async function fitted(state: State): Promise<Span> {
  let range: Span = { from: "0", to: "now" };
  for (let round = 0; round < ROUNDS; round++) {
    const found = await series({ ...START, service: state.service, type: state.type, range });
    const some = found.groups[0]!.profiles.map((_, i) => found.groups.some((group) => group.profiles[i]));
    const begin = secondsOf(found.start);
    range = {
      from: isoSecond(begin + some.indexOf(true) * found.step),
      to: isoSecond(begin + (some.lastIndexOf(true) + 1) * found.step - 1),
    };
    if (found.step === 1) break;
  }
  return range;
}
