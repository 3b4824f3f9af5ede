import { useEffect, useMemo, useState } from "preact/hooks";
import type { Flame } from "./api";
import { changeColor, paintByPackage, paintChange, paintPlain } from "./colors";
import type { Look } from "./draw";
import { relativeChange, shownFrame, spokenFrame, type Side } from "./frames";
import { FlameView } from "./FlameView";
import { plain } from "./names";
import type { Change, State } from "./state";
import { TopTable } from "./TopTable";
import { searched, Tree } from "./tree";
import { percent, share, shownValue } from "./units";

interface Props {
  flame: Flame | null;
  loading: boolean;
  limited: number | null;
  state: State;
  change: Change;
  dark: boolean;
}

export function Graph({ flame, loading, limited, state, change, dark }: Props) {
  return (
    <section class="graph" aria-label="Where it goes" aria-busy={loading}>
      <div
        class={loading ? "progress on" : "progress"}
        role="status"
        aria-label={loading ? "Merging profiles" : ""}
      />
      {flame ? (
        <Drawn flame={flame} limited={limited} state={state} change={change} dark={dark} />
      ) : (
        <p class="wait">{loading ? "Merging profiles…" : ""}</p>
      )}
    </section>
  );
}

interface DrawnProps extends Omit<Props, "flame" | "loading"> {
  flame: Flame;
}

function Drawn({ flame, limited, state, change, dark }: DrawnProps) {
  const { functions, totals } = flame;
  const diff = totals.length > 1;
  const side: Side = useMemo(
    () => ({ functions, totals, sample: flame.sample_type, absolute: state.absolute }),
    [flame, state.absolute],
  );
  const weigh = useMemo(() => weight(totals, state.absolute), [flame, state.absolute]);
  const tree = useMemo(() => new Tree(flame.nodes, functions, totals, weigh), [flame, weigh]);
  const callers = useMemo(
    () => (flame.callers ? new Tree(flame.callers, functions, totals, weigh) : null),
    [flame, weigh],
  );
  const wanted = useMemo(() => (state.search ? searched(state.search, functions) : null), [flame, state.search]);
  const look = (of: Tree): Look => ({
    paint: diff
      ? paintChange((node) => relativeChange([of.values[0]![node]!, of.values[1]![node]!], side), state.safe, dark)
      : state.colors === "package"
        ? paintByPackage(of, functions.name, dark)
        : paintPlain(of, dark),
    wanted,
    match: dark ? "#e08ae0" : "#e277e2",
    dimmed: dark ? "#aab3bd" : "#59626d",
    background: dark ? "#14171b" : "#ffffff",
  });
  const deps = [side, state.safe, state.colors, dark, wanted];
  const lookOf = useMemo(() => look(tree), [tree, ...deps]);
  const lookOfCallers = useMemo(() => callers && look(callers), [callers, ...deps]);
  const [picked, setPicked] = useState<{ tree: Tree; node: number } | null>(null);
  const [up, setUp] = useState("");
  useEffect(() => setUp(""), [callers]);
  const shown = picked && (picked.tree === tree || picked.tree === callers) ? picked : null;
  const focus = (name: string): void => change({ focus: name, zoom: "" });
  const table = (
    <TopTable
      side={side}
      wanted={wanted}
      chosen={state.search}
      onChoose={(name) => change({ search: name })}
      onFocus={focus}
    />
  );
  const flameOf = (of: Tree, label: string, own: boolean) => (
    <FlameView
      label={label}
      tree={of}
      look={own ? lookOf : lookOfCallers!}
      side={side}
      zoom={own ? state.zoom : up}
      flip={own ? state.flip && !callers : true}
      top={callers ? 1 : 0}
      height={null}
      onZoom={(mark) => (own ? change({ zoom: mark }) : setUp(mark))}
      onPick={(node) => setPicked({ tree: of, node })}
      onFocus={focus}
    />
  );
  return (
    <>
      <Controls
        flame={flame}
        tree={tree}
        wanted={wanted}
        limited={limited}
        state={state}
        change={change}
        dark={dark}
      />
      <div class={`panes ${state.view}`}>
        {state.view !== "flame" && table}
        {state.view !== "table" && (
          <div class="pane">
            {callers ? (
              <>
                <h2 class="pane-title">
                  <span dir="auto">{plain(state.focus)}</span>
                  <button type="button" class="small" onClick={() => change({ focus: "", zoom: "" })}>
                    Back to the whole graph
                  </button>
                </h2>
                <h3>Callers</h3>
                {flameOf(callers, "Callers, upwards", false)}
                <h3>Callees</h3>
                {flameOf(tree, "Callees, downwards", true)}
              </>
            ) : (
              flameOf(tree, diff ? "Difference flame graph" : "Flame graph", true)
            )}
            <div class="picked-frame">
              {shown ? (
                <>
                  {shownFrame(shown.tree, shown.node, side)}
                  {shown.tree.fn[shown.node]! >= 0 && (
                    <div class="actions">
                      <button
                        type="button"
                        class="small"
                        onClick={() => focus(functions.name[shown.tree.fn[shown.node]!]!)}
                      >
                        Callers and callees
                      </button>
                      <button
                        type="button"
                        class="small"
                        onClick={() => change({ search: functions.name[shown.tree.fn[shown.node]!]! })}
                      >
                        Find all
                      </button>
                    </div>
                  )}
                </>
              ) : (
                <p class="note">
                  Click a frame to zoom, shift-click for its callers and callees; the arrow keys do, too.
                </p>
              )}
            </div>
            <p class="spoken" role="status">
              {shown ? spokenFrame(shown.tree, shown.node, side) : ""}
            </p>
          </div>
        )}
      </div>
    </>
  );
}

// How wide a frame is: by its value; in a difference by both, each as a share of its own total or as it is.
function weight(totals: number[], absolute: boolean): (values: number[]) => number {
  if (totals.length < 2) return (values) => values[0]!;
  if (absolute) return (values) => values[0]! + values[1]!;
  return (values) => share(values[0]!, totals[0]!) + share(values[1]!, totals[1]!);
}

interface ControlsProps {
  flame: Flame;
  tree: Tree;
  wanted: Uint8Array | null;
  limited: number | null;
  state: State;
  change: Change;
  dark: boolean;
}

const VIEWS = [
  ["both", "Both"],
  ["flame", "Flame graph"],
  ["table", "Table"],
] as const;

function Controls({ flame, tree, wanted, limited, state, change, dark }: ControlsProps) {
  const { totals, sample_type: sample, profiles } = flame;
  const diff = totals.length > 1;
  const matched = useMemo(() => wanted && tree.matched(wanted), [tree, wanted]);
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
          onInput={(event) => change({ search: event.currentTarget.value }, false)}
        />
      </label>
      <output class="matched" aria-label="Matched share">
        {matched && matched.map((value, i) => percent(share(value, totals[i]!))).join(" / ") + " matched"}
      </output>
      <div class="toggle" role="group" aria-label="View">
        {VIEWS.map(([view, name]) => (
          <button
            type="button"
            key={view}
            aria-pressed={state.view === view}
            onClick={() => change({ view }, false)}
          >
            {name}
          </button>
        ))}
      </div>
      {state.view !== "table" && !state.focus && (
        <button type="button" aria-pressed={state.flip} onClick={() => change({ flip: !state.flip }, false)}>
          Root below
        </button>
      )}
      {diff && (
        <>
          <div class="toggle" role="group" aria-label="Compare">
            <button
              type="button"
              aria-pressed={!state.absolute}
              onClick={() => change({ absolute: false }, false)}
            >
              Shares
            </button>
            <button type="button" aria-pressed={state.absolute} onClick={() => change({ absolute: true }, false)}>
              Absolute
            </button>
          </div>
          <button type="button" aria-pressed={state.safe} onClick={() => change({ safe: !state.safe }, false)}>
            Colour-blind safe
          </button>
          <Scale safe={state.safe} dark={dark} />
        </>
      )}
      {!diff && state.view !== "table" && (
        <button
          type="button"
          aria-pressed={state.colors === "package"}
          onClick={() => change({ colors: state.colors === "package" ? "plain" : "package" }, false)}
        >
          Colour by package
        </button>
      )}
      {state.zoom && (
        <button type="button" onClick={() => change({ zoom: "" })}>
          Reset zoom
        </button>
      )}
      <span class="grow" />
      <span class="sums">
        {totals.map((total, i) => {
          const { found, merged, expired } = profiles[i]!;
          const of = merged === found ? `${merged}` : `${merged} of ${found}`;
          return (
            <span key={i} title={expired ? `${expired} had expired` : undefined}>
              {diff && <span class="which">{i ? "base" : "now"}</span>} <b>{shownValue(total, sample.unit)}</b> in{" "}
              {of} profile{found === 1 ? "" : "s"}
            </span>
          );
        })}
        {limited !== null && <span class="note">evenly spread</span>}
      </span>
    </div>
  );
}

function Scale({ safe, dark }: { safe: boolean; dark: boolean }) {
  return (
    <span class="scale" aria-label="Colours: from less to more">
      less
      {[-1, -0.5, 0, 0.5, 1].map((change) => (
        <i key={change} style={{ background: changeColor(change, safe, dark) }} />
      ))}
      more
    </span>
  );
}
