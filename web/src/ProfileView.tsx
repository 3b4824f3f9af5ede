import { useCallback, useMemo, useState } from "preact/hooks";
import type { FlameGraphData } from "./api";
import { describeSelection } from "./captions";
import { copyText } from "./clipboard";
import { colorByChange, colorByPackage, colorPlain } from "./colors";
import { saveBlob, savePng } from "./download";
import type { FrameStyle } from "./draw";
import { FlameGraph } from "./FlameGraph";
import { FrameMenu, type FrameAction } from "./FrameMenu";
import { describeFrame, relativeChange, type ValueContext } from "./frames";
import { GraphControls } from "./GraphControls";
import type { Graph } from "./graphs";
import { useStateOf } from "./hooks";
import { toSvg } from "./image";
import { displayName } from "./names";
import { PeekTable } from "./PeekTable";
import { refineByFunction } from "./refinements";
import { SelectedFrame } from "./SelectedFrame";
import type { State, UpdateState } from "./state";
import { TopTable } from "./TopTable";
import { matchFunctions, Tree } from "./tree";
import { fraction } from "./units";

interface Props {
  data: FlameGraphData | null;
  loading: boolean;
  onCancel: () => void;
  onResume: (() => void) | null; // if loading was cancelled
  limit: number | null; // the number of profiles that were merged at most
  state: State;
  update: UpdateState;
  dark: boolean;
}

// The merged profile as table and flame graph.
export function ProfileView({ data, loading, onCancel, onResume, ...rest }: Props) {
  return (
    <section class="graph" aria-label="Merged profile" aria-busy={loading}>
      <div
        class={loading ? "progress on" : "progress"}
        role="status"
        aria-label={loading ? "Merging profiles" : ""}
      />
      {loading && (
        <button type="button" class="cancel" onClick={onCancel}>
          Cancel
        </button>
      )}
      {onResume ? (
        <p class="loading">
          Cancelled.{" "}
          <button type="button" class="small" onClick={onResume}>
            Load
          </button>
        </p>
      ) : data ? (
        <MergedProfile data={data} {...rest} />
      ) : (
        <p class="loading">{loading ? "Merging profiles…" : ""}</p>
      )}
    </section>
  );
}

interface MergedProfileProps extends Omit<Props, "data" | "loading" | "onCancel" | "onResume"> {
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
  const [selected, setSelected] = useState<{ tree: Tree; node: number } | null>(null);
  const [callersZoom, setCallersZoom] = useStateOf(callers, "");

  const separate = diff && state.sideBySide && !callers;
  const sides = useMemo(
    () =>
      separate ? [1, 0].map((side) => new Tree(data.nodes, functions, totals, (values) => values[side]!)) : null,
    [separate, data, functions, totals],
  );
  const styles = useMemo(
    () => new Map([tree, callers, ...(sides ?? [])].map((shown) => [shown, shown && styleOf(shown)])),
    [tree, callers, sides, styleOf],
  );
  const { zoom, rootAtBottom } = state;
  const graphs = useMemo((): Graph[] => {
    const graphOf = (shown: Tree, title: string, label = title): Graph => ({
      title,
      label,
      tree: shown,
      style: styles.get(shown)!,
      zoom,
      rootAtBottom,
      topLevel: 0,
    });
    if (callers) {
      return [
        { ...graphOf(callers, "Callers", "Callers, upwards"), zoom: callersZoom, rootAtBottom: true, topLevel: 1 },
        { ...graphOf(tree, "Callees", "Callees, downwards"), rootAtBottom: false, topLevel: 1 },
      ];
    }
    if (sides) return sides.map((side, i) => graphOf(side, i ? "Comparison" : "Base"));
    return [graphOf(tree, "", diff ? "Diff flame graph" : "Flame graph")];
  }, [tree, callers, sides, styles, zoom, callersZoom, rootAtBottom, diff]);

  const focus = (name: string): void => update({ focus: name, zoom: "" });
  const zoomed = useMemo(() => tree.findStack(zoom), [tree, zoom]);
  const tableRoot = state.view === "flame" ? 0 : zoomed;
  const tableContext = useMemo(() => contextWithin(tree, tableRoot, context), [tree, tableRoot, context]);
  const [menu, setMenu] = useState<{ tree: Tree; node: number; x: number; y: number } | null>(null);
  const actionsOf = (shown: Tree, node: number): FrameAction[] => {
    const name = functions.name[shown.fn[node]!];
    if (name === undefined) return [];
    const refineBy = (option: "focus" | "ignore" | "hide" | "show_from") => () =>
      update({ refinements: refineByFunction(state.refinements, option, name), zoom: "" });
    return [
      { label: "Callers and callees", hint: "As pprof's peek", run: () => focus(name) },
      { label: "Search", hint: "Highlight the function", run: () => update({ search: displayName(name) }) },
      { label: "Focus", hint: "Only samples with this function", run: refineBy("focus") },
      { label: "Ignore", hint: "Only samples without this function", run: refineBy("ignore") },
      { label: "Hide", hint: "Leave out the function, keep its callees", run: refineBy("hide") },
      { label: "Show from", hint: "Leave out its callers", run: refineBy("show_from") },
      { label: "Copy name", run: () => void copyText(displayName(name)) },
    ];
  };
  const save = (format: "png" | "svg"): void => {
    const captions = describeSelection(state, data, Math.floor(Date.now() / 1000));
    const name = `${state.service}-${state.profileType}.${format}`;
    if (format === "png") savePng(captions, graphs, name);
    else {
      const svg = toSvg(captions, graphs, (graph, node) => describeFrame(graph.tree, node, context));
      saveBlob(new Blob([svg], { type: "image/svg+xml" }), name);
    }
  };
  const isShown = (shown: { tree: Tree } | null): boolean => graphs.some((graph) => graph.tree === shown?.tree);
  const frame = isShown(selected) ? selected : null;
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
        onSave={save}
      />
      {menu && isShown(menu) && (
        <FrameMenu
          key={`${menu.node} ${menu.x} ${menu.y}`}
          x={menu.x}
          y={menu.y}
          title={menu.tree.nameOf(menu.node)}
          actions={actionsOf(menu.tree, menu.node)}
          onClose={() => setMenu(null)}
        />
      )}
      {callers && (
        <h2 class="pane-title">
          <span dir="auto">{displayName(state.focus)}</span>
          <button type="button" class="small" onClick={() => update({ focus: "", zoom: "" })}>
            Show the whole graph
          </button>
        </h2>
      )}
      <div class={`panes ${state.view}`}>
        {state.view !== "flame" &&
          (data.peek ? (
            <PeekTable peek={data.peek} functionName={state.focus} context={context} onPeek={focus} />
          ) : (
            <TopTable
              context={tableContext}
              zoomedName={zoomed > 0 ? tree.nameOf(zoomed) : ""}
              matches={matches}
              selected={search}
              colorBlindSafe={colorBlindSafe}
              onSelect={(name) => update({ search: displayName(name) })}
              onFocus={focus}
            />
          ))}
        {state.view !== "table" && (
          <div class="pane">
            <div class={sides ? "graphs side-by-side" : "graphs"}>
              {graphs.map((graph) => (
                <div class="pane" key={graph.label}>
                  {graph.title && <h3>{graph.title}</h3>}
                  <FlameGraph
                    {...graph}
                    context={context}
                    onZoom={graph.tree === callers ? setCallersZoom : (id) => update({ zoom: id })}
                    onSelect={(node) => setSelected({ tree: graph.tree, node })}
                    onFocus={focus}
                    onMenu={(node, x, y) => {
                      if (actionsOf(graph.tree, node).length) setMenu({ tree: graph.tree, node, x, y });
                    }}
                  />
                </div>
              ))}
            </div>
            <SelectedFrame
              frame={frame}
              zoomed={frame?.tree === callers ? 0 : zoomed}
              context={context}
              actions={frame ? actionsOf(frame.tree, frame.node) : []}
            />
          </div>
        )}
      </div>
    </>
  );
}

// Returns the context of the table: the functions within the zoomed frame, whose value is all of it.
function contextWithin(tree: Tree, zoomed: number, context: ValueContext): ValueContext {
  if (!zoomed) return context;
  const functions = { ...context.functions, ...tree.functionsWithin(zoomed) };
  return { ...context, functions, totals: tree.values.map((column) => column[zoomed]!) };
}

// Returns the function that weighs a node by its value; in a diff, by the sum of both sides' values or fractions.
function weightOf(totals: number[], absolute: boolean): (values: number[]) => number {
  if (totals.length < 2) return (values) => values[0]!;
  if (absolute) return (values) => values[0]! + values[1]!;
  return (values) => fraction(values[0]!, totals[0]!) + fraction(values[1]!, totals[1]!);
}
