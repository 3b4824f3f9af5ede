import { useCallback, useEffect, useMemo, useState } from "preact/hooks";
import type { FlameGraphData } from "./api";
import { colorByChange, colorByPackage, colorPlain } from "./colors";
import type { FrameStyle } from "./draw";
import { FlameGraph } from "./FlameGraph";
import { describeFrame, FrameDetails, relativeChange, type ValueContext } from "./frames";
import { GraphControls } from "./GraphControls";
import { sanitize } from "./names";
import type { State, UpdateState } from "./state";
import { TopTable } from "./TopTable";
import { matchFunctions, Tree } from "./tree";
import { fraction } from "./units";

interface Props {
  data: FlameGraphData | null;
  loading: boolean;
  limit: number | null; // the number of profiles that were merged at most
  state: State;
  update: UpdateState;
  dark: boolean;
}

// The merged profile as table and flame graph.
export function ProfileView({ data, loading, ...rest }: Props) {
  return (
    <section class="graph" aria-label="Merged profile" aria-busy={loading}>
      <div
        class={loading ? "progress on" : "progress"}
        role="status"
        aria-label={loading ? "Merging profiles" : ""}
      />
      {data ? (
        <MergedProfile data={data} {...rest} />
      ) : (
        <p class="loading">{loading ? "Merging profiles…" : ""}</p>
      )}
    </section>
  );
}

interface MergedProfileProps extends Omit<Props, "data" | "loading"> {
  data: FlameGraphData;
}

function MergedProfile({ data, limit, state, update, dark }: MergedProfileProps) {
  const { functions, totals, sample_type: sampleType } = data;
  const { search, absolute, colors, colorBlindSafe } = state;
  const diff = totals.length > 1;
  const context: ValueContext = useMemo(
    () => ({ functions, totals, sampleType, absolute }),
    [functions, totals, sampleType, absolute],
  );
  const weigh = useMemo(() => weightOf(totals, absolute), [totals, absolute]);
  const tree = useMemo(() => new Tree(data.nodes, functions, totals, weigh), [data, functions, totals, weigh]);
  const callers = useMemo(
    () => (data.callers ? new Tree(data.callers, functions, totals, weigh) : null),
    [data, functions, totals, weigh],
  );
  const matches = useMemo(() => matchFunctions(search, functions), [search, functions]);
  const styleOf = useCallback(
    (shown: Tree): FrameStyle => ({
      color: diff
        ? colorByChange(
            (node) => relativeChange([shown.values[0]![node]!, shown.values[1]![node]!], context),
            colorBlindSafe,
            dark,
          )
        : colors === "package"
          ? colorByPackage(shown, context.functions, dark)
          : colorPlain(shown, dark),
      matches,
      matchColor: dark ? "#e08ae0" : "#e277e2",
      dimmedText: dark ? "#aab3bd" : "#59626d",
      background: dark ? "#14171b" : "#ffffff",
    }),
    [diff, context, colors, colorBlindSafe, dark, matches],
  );
  const style = useMemo(() => styleOf(tree), [styleOf, tree]);
  const callersStyle = useMemo(() => callers && styleOf(callers), [styleOf, callers]);
  const [selected, setSelected] = useState<{ tree: Tree; node: number } | null>(null);
  const [callersZoom, setCallersZoom] = useState("");
  useEffect(() => setCallersZoom(""), [callers]);

  const focus = (name: string): void => update({ focus: name, zoom: "" });
  const flameGraph = (label: string) => (
    <FlameGraph
      label={label}
      tree={tree}
      style={style}
      context={context}
      zoom={state.zoom}
      rootAtBottom={state.rootAtBottom && !callers}
      topLevel={callers ? 1 : 0}
      onZoom={(zoom) => update({ zoom })}
      onSelect={(node) => setSelected({ tree, node })}
      onFocus={focus}
    />
  );
  const isShown = selected && (selected.tree === tree || selected.tree === callers);
  return (
    <>
      <GraphControls
        data={data}
        tree={tree}
        matches={matches}
        limit={limit}
        state={state}
        update={update}
        dark={dark}
      />
      <div class={`panes ${state.view}`}>
        {state.view !== "flame" && (
          <TopTable
            context={context}
            matches={matches}
            selected={search}
            colorBlindSafe={colorBlindSafe}
            onSelect={(name) => update({ search: name })}
            onFocus={focus}
          />
        )}
        {state.view !== "table" && (
          <div class="pane">
            {callers ? (
              <>
                <h2 class="pane-title">
                  <span dir="auto">{sanitize(state.focus)}</span>
                  <button type="button" class="small" onClick={() => update({ focus: "", zoom: "" })}>
                    Show the whole graph
                  </button>
                </h2>
                <h3>Callers</h3>
                <FlameGraph
                  label="Callers, upwards"
                  tree={callers}
                  style={callersStyle!}
                  context={context}
                  zoom={callersZoom}
                  rootAtBottom={true}
                  topLevel={1}
                  onZoom={setCallersZoom}
                  onSelect={(node) => setSelected({ tree: callers, node })}
                  onFocus={focus}
                />
                <h3>Callees</h3>
                {flameGraph("Callees, downwards")}
              </>
            ) : (
              flameGraph(diff ? "Diff flame graph" : "Flame graph")
            )}
            <div class="selected-frame">
              {isShown ? (
                <SelectedFrame
                  tree={selected.tree}
                  node={selected.node}
                  context={context}
                  onFocus={focus}
                  onSearch={(name) => update({ search: name })}
                />
              ) : (
                <p class="note">
                  Click a frame to zoom in, Shift-click it for its callers and callees. The arrow keys move between
                  frames.
                </p>
              )}
            </div>
            <p class="visually-hidden" role="status">
              {isShown ? describeFrame(selected.tree, selected.node, context) : ""}
            </p>
          </div>
        )}
      </div>
    </>
  );
}

interface SelectedFrameProps {
  tree: Tree;
  node: number;
  context: ValueContext;
  onFocus: (name: string) => void;
  onSearch: (name: string) => void;
}

function SelectedFrame({ tree, node, context, onFocus, onSearch }: SelectedFrameProps) {
  const name = context.functions.name[tree.fn[node]!];
  return (
    <>
      <FrameDetails tree={tree} node={node} context={context} />
      {name !== undefined && (
        <div class="actions">
          <button type="button" class="small" onClick={() => onFocus(name)}>
            Callers and callees
          </button>
          <button type="button" class="small" onClick={() => onSearch(name)}>
            Search
          </button>
        </div>
      )}
    </>
  );
}

// Returns the function that weighs a node by its value; in a diff, by the sum of both sides' values or fractions.
function weightOf(totals: number[], absolute: boolean): (values: number[]) => number {
  if (totals.length < 2) return (values) => values[0]!;
  if (absolute) return (values) => values[0]! + values[1]!;
  return (values) => fraction(values[0]!, totals[0]!) + fraction(values[1]!, totals[1]!);
}
