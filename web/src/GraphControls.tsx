import { useMemo } from "preact/hooks";
import type { FlameGraphData } from "./api";
import { changeColor } from "./colors";
import { SIDE_NAMES } from "./frames";
import type { State, UpdateState } from "./state";
import { searchError, type Tree } from "./tree";
import { formatPercent, formatValue, fraction } from "./units";

const VIEWS = [
  ["both", "Both"],
  ["flame", "Flame graph"],
  ["table", "Table"],
] as const;

interface Props {
  data: FlameGraphData;
  tree: Tree;
  matches: Uint8Array | null;
  limit: number | null;
  state: State;
  update: UpdateState;
  dark: boolean;
  onSave: (format: "png" | "svg") => void;
}

// The toolbar above the table and the flame graph: search, view, colors, totals.
export function GraphControls({ data, tree, matches, limit, state, update, dark, onSave }: Props) {
  const diff = data.totals.length > 1;
  const invalid = useMemo(() => searchError(state.search), [state.search]);
  const matchedTotals = useMemo(() => matches && tree.matchedTotals(matches), [tree, matches]);
  return (
    <div class="controls">
      <label class="search">
        <span class="caption">Search</span>
        <input
          type="search"
          aria-label="Search"
          value={state.search}
          placeholder="function, or /regex/"
          spellcheck={false}
          aria-invalid={invalid !== ""}
          onInput={(event) => update({ search: event.currentTarget.value }, false)}
        />
      </label>
      {invalid && (
        <span class="search-error" role="status" title={invalid}>
          not a regular expression, searched as text
        </span>
      )}
      <output class="matched" aria-label="Matched percent">
        {matchedTotals &&
          matchedTotals.map((value, side) => formatPercent(fraction(value, data.totals[side]!))).join(" / ") +
            " matched"}
      </output>
      <div class="toggle" role="group" aria-label="View">
        {VIEWS.map(([view, name]) => (
          <button
            type="button"
            key={view}
            aria-pressed={state.view === view}
            onClick={() => update({ view }, false)}
          >
            {name}
          </button>
        ))}
      </div>
      {state.view !== "table" && !state.focus && (
        <button
          type="button"
          aria-pressed={state.rootAtBottom}
          onClick={() => update({ rootAtBottom: !state.rootAtBottom }, false)}
        >
          Root at bottom
        </button>
      )}
      {diff && <DiffControls state={state} update={update} dark={dark} />}
      {!diff && state.view !== "table" && (
        <button
          type="button"
          aria-pressed={state.colors === "package"}
          onClick={() => update({ colors: state.colors === "package" ? "plain" : "package" }, false)}
        >
          Color by package
        </button>
      )}
      {state.zoom && (
        <button type="button" onClick={() => update({ zoom: "" })}>
          Reset zoom
        </button>
      )}
      {state.view !== "table" && (
        <div class="toggle" role="group" aria-label="Save the flame graph">
          {(["png", "svg"] as const).map((format) => (
            <button
              type="button"
              key={format}
              title={`${diff ? "Both sides" : "The flame graph"} as zoomed now, with all levels`}
              onClick={() => onSave(format)}
            >
              Save {format.toUpperCase()}
            </button>
          ))}
        </div>
      )}
      <span class="spacer" />
      <Totals data={data} limit={limit} />
    </div>
  );
}

function DiffControls({ state, update, dark }: Pick<Props, "state" | "update" | "dark">) {
  return (
    <>
      <div class="toggle" role="group" aria-label="Diff of">
        <button type="button" aria-pressed={!state.absolute} onClick={() => update({ absolute: false }, false)}>
          Percent
        </button>
        <button type="button" aria-pressed={state.absolute} onClick={() => update({ absolute: true }, false)}>
          Absolute
        </button>
      </div>
      <button
        type="button"
        aria-pressed={state.sideBySide}
        onClick={() => update({ sideBySide: !state.sideBySide }, false)}
      >
        Side by side
      </button>
      <button
        type="button"
        aria-pressed={state.colorBlindSafe}
        onClick={() => update({ colorBlindSafe: !state.colorBlindSafe }, false)}
      >
        Color-blind safe
      </button>
      <span class="scale" aria-label="Colors: from less to more than the base">
        less
        {[-1, -0.5, 0, 0.5, 1].map((change) => (
          <i key={change} style={{ background: changeColor(change, state.colorBlindSafe, dark) }} />
        ))}
        more
      </span>
    </>
  );
}

// The total of each side, and how it came about.
function Totals({ data, limit }: Pick<Props, "data" | "limit">) {
  const diff = data.totals.length > 1;
  return (
    <span class="totals">
      {data.totals.map((total, side) => {
        const { found, merged, expired, aggregate } = data.profiles[side]!;
        const count = merged === found ? `${merged}` : `${merged} of ${found}`;
        const isSum = aggregate.startsWith("sum of ");
        return (
          <span key={side} title={expired ? `${expired} expired` : undefined}>
            {diff && <span class="side-name">{SIDE_NAMES[side]}</span>}{" "}
            <b>{formatValue(total, data.sample_type.unit)}</b>
            {isSum ? ` in ${count} profile${found === 1 ? "" : "s"}` : `, ${aggregate}`}
          </span>
        );
      })}
      {limit !== null && <span class="note">evenly spread</span>}
    </span>
  );
}
