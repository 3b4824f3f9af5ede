import { useCallback, useEffect, useMemo, useState } from "preact/hooks";
import type { FlameGraphData } from "./api";
import { colorByChange, colorByPackage, colorPlain } from "./colors";
import type { FrameStyle } from "./draw";
import { saveImage } from "./download";
import { FlameGraph } from "./FlameGraph";
import { describeFrame, FrameDetails, relativeChange, type ValueContext } from "./frames";
import { GraphControls } from "./GraphControls";
import { copyText } from "./clipboard";
import { FrameMenu, type FrameAction } from "./FrameMenu";
import { displayName } from "./names";
import { refineByFunction } from "./refinements";
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
  const style = useMemo(() => styleOf(tree), [styleOf, tree]);
  const callersStyle = useMemo(() => callers && styleOf(callers), [styleOf, callers]);
  const [selected, setSelected] = useState<{ tree: Tree; node: number } | null>(null);
  const [callersZoom, setCallersZoom] = useState("");
  useEffect(() => setCallersZoom(""), [callers]);

  const focus = (name: string): void => update({ focus: name, zoom: "" });
  const separate = diff && state.sideBySide && !callers;
  const sides = useMemo(
    () =>
      separate ? [1, 0].map((side) => new Tree(data.nodes, functions, totals, (values) => values[side]!)) : null,
    [separate, data, functions, totals],
  );
  const sideStyles = useMemo(() => sides?.map(styleOf), [sides, styleOf]);
  const zoomed = useMemo(() => tree.findStack(state.zoom), [tree, state.zoom]);
  const tableRoot = state.view === "flame" ? 0 : zoomed;
  const tableContext = useMemo(() => contextWithin(tree, tableRoot, context), [tree, tableRoot, context]);
  const [menu, setMenu] = useState<{ tree: Tree; node: number; x: number; y: number } | null>(null);
  const actionsOf = (shown: Tree, node: number): FrameAction[] => {
    const name = functions.name[shown.fn[node]!];
    if (name === undefined) return [];
    const refineBy = (option: "focus" | "ignore" | "hide" | "show_from") => () =>
      update({ refinements: refineByFunction(state.refinements, option, name), zoom: "" });
    return [
      { label: "Callers and callees", run: () => focus(name) },
      { label: "Search", hint: "Highlight the function", run: () => update({ search: displayName(name) }) },
      { label: "Focus", hint: "Only samples with this function", run: refineBy("focus") },
      { label: "Ignore", hint: "Only samples without this function", run: refineBy("ignore") },
      { label: "Hide", hint: "Leave out the function, keep its callees", run: refineBy("hide") },
      { label: "Show from", hint: "Leave out its callers", run: refineBy("show_from") },
      { label: "Copy name", run: () => void copyText(displayName(name)) },
    ];
  };
  const openMenu = (shown: Tree) => (node: number, x: number, y: number) => {
    if (actionsOf(shown, node).length) setMenu({ tree: shown, node, x, y });
  };
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
      onMenu={openMenu(tree)}
    />
  );
  const isShown = selected && [tree, callers, ...(sides ?? [])].includes(selected.tree);
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
        onSaveImage={() => saveImage(tree, zoomed, style, state.rootAtBottom, `${state.service}.png`)}
      />
      {menu && [tree, callers, ...(sides ?? [])].includes(menu.tree) && (
        <FrameMenu
          key={`${menu.node} ${menu.x} ${menu.y}`}
          x={menu.x}
          y={menu.y}
          title={menu.tree.nameOf(menu.node)}
          actions={actionsOf(menu.tree, menu.node)}
          onClose={() => setMenu(null)}
        />
      )}
      <div class={`panes ${state.view}`}>
        {state.view !== "flame" && (
          <TopTable
            context={tableContext}
            zoomedName={zoomed > 0 ? tree.nameOf(zoomed) : ""}
            matches={matches}
            selected={search}
            colorBlindSafe={colorBlindSafe}
            onSelect={(name) => update({ search: displayName(name) })}
            onFocus={focus}
          />
        )}
        {state.view !== "table" && (
          <div class="pane">
            {callers ? (
              <>
                <h2 class="pane-title">
                  <span dir="auto">{displayName(state.focus)}</span>
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
                  onMenu={openMenu(callers)}
                />
                <h3>Callees</h3>
                {flameGraph("Callees, downwards")}
              </>
            ) : sides ? (
              <div class="side-by-side">
                {sides.map((side, i) => (
                  <div class="pane" key={i}>
                    <h3>{i ? "Comparison" : "Base"}</h3>
                    <FlameGraph
                      label={i ? "Comparison" : "Base"}
                      tree={side}
                      style={sideStyles![i]!}
                      context={context}
                      zoom={state.zoom}
                      rootAtBottom={state.rootAtBottom}
                      topLevel={0}
                      onZoom={(zoom) => update({ zoom })}
                      onSelect={(node) => setSelected({ tree: side, node })}
                      onFocus={focus}
                      onMenu={openMenu(side)}
                    />
                  </div>
                ))}
              </div>
            ) : (
              flameGraph(diff ? "Diff flame graph" : "Flame graph")
            )}
            <div class="selected-frame">
              {isShown ? (
                <SelectedFrame
                  tree={selected.tree}
                  node={selected.node}
                  zoomed={selected.tree === callers ? 0 : zoomed}
                  context={context}
                  actions={actionsOf(selected.tree, selected.node)}
                />
              ) : (
                <p class="note">
                  Click a frame to zoom in, Shift-click it for its callers and callees, right-click it for more.
                  The arrow keys move between frames.
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
  zoomed: number;
  context: ValueContext;
  actions: FrameAction[];
}

function SelectedFrame({ tree, node, zoomed, context, actions }: SelectedFrameProps) {
  return (
    <>
      <FrameDetails tree={tree} node={node} zoomed={zoomed} context={context} />
      <div class="actions">
        {actions.map(({ label, hint, run }) => (
          <button type="button" class="small" key={label} title={hint} onClick={run}>
            {label}
          </button>
        ))}
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
