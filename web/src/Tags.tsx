import { fetchTags } from "./api";
import { latestValue, useFetched } from "./hooks";
import { sanitize, shortenValue } from "./names";
import { refine, refineByTag } from "./refinements";
import type { State, UpdateState } from "./state";
import { formatPercent, formatValue, fraction } from "./units";

const MAX_VALUES = 12; // shown of each key

interface Props {
  state: State;
  update: UpdateState;
}

// The labels of the samples with their totals. A value selects its samples; a key breaks the profile down.
export function Tags({ state, update }: Props) {
  const { service, profileType, sampleType, aggregate, range, selection, labels, refinements } = state;
  const inputs = [service, profileType, sampleType, aggregate, selection ?? range, labels, refinements];
  const fetched = useFetched(JSON.stringify(inputs), (signal) => fetchTags(state, signal));
  const tags = latestValue(fetched);
  if (fetched.state === "failed") return <p class="note">{sanitize(fetched.error.message)}</p>;
  if (!tags) return <p class="note">Loading tags…</p>;
  if (!tags.tags.length) return <p class="note">The samples of these profiles have no labels.</p>;
  const change = (changed: typeof refinements): void => update({ refinements: changed, zoom: "" });
  return (
    <ul class="tags" aria-label="Tags" aria-busy={fetched.state === "loading"}>
      {tags.tags.map(({ key, values, others }) => (
        <li key={key}>
          <span class="caption" dir="auto">
            {sanitize(key)}
          </span>
          <button
            type="button"
            class="small"
            aria-label={`Break down by ${sanitize(key)}`}
            aria-pressed={refinements.tagroot === key}
            onClick={() => change(refine(refinements, "tagroot", refinements.tagroot === key ? "" : key))}
          >
            Break down
          </button>
          {values.slice(0, MAX_VALUES).map((tag) => (
            <button
              type="button"
              class="small tag"
              key={tag.value}
              title={`${sanitize(tag.value)}: ${formatValue(tag.total, tags.sample_type.unit)}`}
              onClick={() => change(refineByTag(refinements, "tagfocus", key, tag))}
            >
              <span class="group-name" dir="auto">
                {shortenValue(sanitize(tag.value)) || '""'}
              </span>
              <span class="percent">{formatPercent(fraction(tag.total, tags.total))}</span>
            </button>
          ))}
          {values.length + others > MAX_VALUES && (
            <span class="note">and {values.length + others - MAX_VALUES} more</span>
          )}
        </li>
      ))}
    </ul>
  );
}
