import { useEffect, useState } from "preact/hooks";
import { ApiError, choices, flame, key, series, services, type Choices } from "./api";
import { Filters } from "./Filters";
import { fitted } from "./fit";
import { Graph } from "./Graph";
import { useLoaded, useTheme, valueOf, type Theme } from "./hooks";
import { KeyPrompt } from "./KeyPrompt";
import { formatMatchers, type Matcher } from "./labels";
import { plain } from "./names";
import { Empty, Failure, Start } from "./Notices";
import { Picked, RangePicker } from "./Ranges";
import { Share } from "./Share";
import { useUrlState, type Change, type Span, type State } from "./state";
import { Timeline } from "./Timeline";

const LEAST = 100; // profiles, where there are too many to merge them all

export function App() {
  const [state, change] = useUrlState();
  const [theme, setTheme, dark] = useTheme();
  const [turn, setTurn] = useState(0); // all is asked for again in the next one
  const [limit, setLimit] = useState<number | null>(null);
  const [trouble, setTrouble] = useState("");

  const listed = useLoaded(`services ${turn}`, services);
  const known = valueOf(listed);
  const offered = useLoaded(state.service ? `${turn} ${state.service}` : null, (signal) =>
    choices(state.service, signal),
  );
  const choice = valueOf(offered);
  const types = choice?.types.filter((type) => type !== "trace") ?? [];
  const ready = Boolean(state.service && state.type);
  const asked = ready ? JSON.stringify([turn, state.service, state.type, state.range, state.group]) : null;
  const timeline = useLoaded(
    asked && asked + (state.diff ? "" : formatMatchers(state.labels)),
    (signal) => series(state, signal),
  );
  const graph = useLoaded(ready ? JSON.stringify([turn, limit, ...looked(state)]) : null, (signal) =>
    flame(state, limit, signal),
  );

  useEffect(() => {
    if (known?.length === 1 && !state.service) change({ service: known[0]! }, false);
  }, [known, state.service]);
  useEffect(() => {
    if (offered.state === "there" && types.length && !types.includes(state.type)) {
      change({ type: types.includes("cpu") ? "cpu" : types[0]!, sample: "", zoom: "", focus: "" }, false);
    }
  }, [offered, state.type]);
  useEffect(() => {
    document.title = ready ? `${plain(state.service)} ${state.type} · profbucket` : "profbucket";
    setLimit(null);
    setTrouble("");
  }, [state.service, state.type]);

  const again = (): void => setTurn(turn + 1);
  const fit = async (): Promise<void> => {
    try {
      change({ range: await fitted(state), picked: null, basePicked: null });
    } catch (error) {
      setTrouble((error as Error).message);
    }
  };
  const failures = [listed, offered, timeline, graph].flatMap((one) => (one.state === "failed" ? [one.error] : []));
  const locked = failures.find((error) => error instanceof ApiError && error.status === 401);
  const shown = valueOf(graph);
  const samples = shown?.sample_types ?? [];
  const sample = state.sample || shown?.sample_type.type || "";
  const line = valueOf(timeline);
  return (
    <>
      {locked && (
        <KeyPrompt key={turn} onKey={again} />
      )}
      <header>
        <a class="brand" href="?">
          <Mark />
          profbucket
        </a>
        <Pick label="Service" value={state.service} options={known ?? []} onChange={(service) => change(only(service))} />
        {state.service && (
          <Pick
            label="Type"
            value={state.type}
            options={types}
            onChange={(type) => change({ type, sample: "", zoom: "", focus: "" })}
          />
        )}
        {samples.length > 0 && (
          <Pick
            label="Sample"
            value={sample}
            options={samples.map((one) => one.type)}
            onChange={(one) => change({ sample: one })}
          />
        )}
        <span class="grow" />
        {ready && !locked && <Share state={{ ...state, sample }} onError={setTrouble} />}
        {key.get() && (
          <button
            type="button"
            onClick={() => {
              key.forget();
              again();
            }}
          >
            Forget key
          </button>
        )}
        <Pick
          label="Theme"
          value={theme}
          options={["auto", "light", "dark"]}
          onChange={(chosen) => setTheme(chosen as Theme)}
        />
      </header>
      <main>
        {listed.state === "failed" && !locked && <Failure error={listed.error} onRetry={again} />}
        {known && !state.service && <Start services={known} onChoose={(service) => change(only(service))} />}
        {offered.state === "failed" && !locked && (
          <Failure error={offered.error} onRetry={again} />
        )}
        {offered.state === "there" && !types.length && (
          <p class="notice">This service has only execution traces: fetch one and look at it with <code>go tool trace</code>.</p>
        )}
        {ready && !locked && (
          <>
            <section class="select" aria-label="Selection">
              <RangePicker
                range={state.range}
                onChange={(range) => change({ range, picked: null, basePicked: null })}
                onFit={fit}
                onReload={again}
              />
              <Grouping state={state} choices={choice} change={change} />
            </section>
            {trouble && (
              <p class="notice bad" role="alert">
                {trouble}{" "}
                <button type="button" class="small" onClick={() => setTrouble("")}>
                  Close
                </button>
              </p>
            )}
            <Explore state={state} choices={choice} change={change}>
              {line ? (
                <Timeline
                  series={line}
                  sample={sample}
                  bands={[
                    ...(state.diff
                      ? [{ span: state.basePicked, name: "base", kind: "base" as const }]
                      : []),
                    { span: state.picked, name: state.diff ? "now" : "", kind: "now" as const },
                  ]}
                  onDrag={(span) => change({ [state.diff && state.drag === "base" ? "basePicked" : "picked"]: span, zoom: "" })}
                />
              ) : (
                <div class="timeline none" aria-busy={timeline.state === "loading"}>
                  {timeline.state === "failed" && <p class="note">{notice(timeline.error)}</p>}
                </div>
              )}
            </Explore>
            {graph.state === "failed" ? (
              <Empty
                error={graph.error}
                onFit={fit}
                onLess={() => setLimit(LEAST)}
                onWhole={state.focus ? () => change({ focus: "" }) : null}
                onRetry={again}
              />
            ) : (
              <Graph
                flame={shown}
                loading={graph.state === "loading"}
                limited={limit}
                state={state}
                change={change}
                dark={dark}
              />
            )}
          </>
        )}
      </main>
    </>
  );
}

function only(service: string): Partial<State> {
  return { service, type: "", sample: "", labels: [], baseLabels: [], diff: false, group: "", zoom: "", focus: "", picked: null, basePicked: null };
}

// All that decides what the graph shows, and nothing that only decides how.
function looked(state: State): unknown[] {
  const { service, type, sample, focus, diff } = state;
  const base = diff ? [state.basePicked ?? state.range, formatMatchers(state.baseLabels)] : null;
  return [service, type, sample, focus, state.picked ?? state.range, formatMatchers(state.labels), base];
}

function notice(error: Error): string {
  return error instanceof ApiError && error.status === 404 ? "Nothing in this range." : error.message;
}

interface ExploreProps {
  state: State;
  choices: Choices | null;
  change: Change;
  children: preact.ComponentChildren;
}

function Explore({ state, choices, change, children }: ExploreProps) {
  const { range, picked, basePicked, diff } = state;
  const set = (name: "labels" | "baseLabels") => (matchers: Matcher[]) => change({ [name]: matchers, zoom: "" });
  const pick = (name: "picked" | "basePicked") => (span: Span | null) => change({ [name]: span, zoom: "" });
  return (
    <section class="explore" aria-label="Timeline">
      {children}
      <div class="sides">
        {diff && (
          <div class="side base">
            <Filters title="Base" kind="base" matchers={state.baseLabels} choices={choices} onChange={set("baseLabels")} />
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
                <input type="radio" name="drag" checked={state.drag === one} onChange={() => change({ drag: one }, false)} />
                {one}
              </label>
            ))}
          </fieldset>
        )}
      </div>
    </section>
  );
}

function Grouping({ state, choices, change }: { state: State; choices: Choices | null; change: Change }) {
  const labels = choices?.labels.map((one) => one.key) ?? [];
  return (
    <div class="grouping">
      {labels.length > 0 && (
        <Pick
          label="Group by"
          value={state.group}
          options={["", ...labels]}
          onChange={(group) => change({ group })}
        />
      )}
      <button type="button" aria-pressed={state.diff} onClick={() => change(state.diff ? endDiff() : beginDiff(state, choices))}>
        Compare
      </button>
    </div>
  );
}

function endDiff(): Partial<State> {
  return { diff: false, basePicked: null, baseLabels: [], zoom: "" };
}

// What most want to compare: the last two versions, or values of whatever label there is.
function beginDiff(state: State, choices: Choices | null): Partial<State> {
  const labels = choices?.labels.filter((one) => one.values.length > 1) ?? [];
  const label = ["version", state.group].map((wanted) => labels.find((one) => one.key === wanted)).find(Boolean);
  const diff = { diff: true, zoom: "", baseLabels: state.labels, basePicked: state.picked };
  if (!label || state.labels.some((one) => one.key === label.key)) return diff;
  const [before, now] = [...label.values].sort((a, b) => a.localeCompare(b, "en", { numeric: true })).slice(-2);
  const of = (value: string): Matcher[] => [...state.labels, { key: label.key, op: "=", value }];
  return { ...diff, labels: of(now!), baseLabels: of(before!), group: state.group || label.key };
}

interface PickProps {
  label: string;
  value: string;
  options: string[];
  onChange: (value: string) => void;
}

function Pick({ label, value, options, onChange }: PickProps) {
  const all = options.includes(value) ? options : [value, ...options];
  return (
    <label class="pick">
      {label}
      <select aria-label={label} value={value} onChange={(event) => onChange(event.currentTarget.value)}>
        {all.map((one) => (
          <option key={one} value={one}>
            {plain(one) || (label === "Group by" ? "none" : "choose…")}
          </option>
        ))}
      </select>
    </label>
  );
}

function Mark() {
  return (
    <svg width="18" height="18" viewBox="0 0 18 18" aria-hidden="true">
      <rect x="1" y="2" width="16" height="4" rx="1" fill="var(--accent)" />
      <rect x="1" y="7" width="11" height="4" rx="1" fill="var(--accent)" opacity=".75" />
      <rect x="1" y="12" width="6" height="4" rx="1" fill="var(--accent)" opacity=".5" />
    </svg>
  );
}
