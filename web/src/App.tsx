import { useEffect, useState } from "preact/hooks";
import { ApiError, choices, flame, key, series, services } from "./api";
import { fitted } from "./fit";
import { Graph } from "./Graph";
import { Grouping } from "./Grouping";
import { useLoaded, useTheme, valueOf, type Theme } from "./hooks";
import { KeyPrompt } from "./KeyPrompt";
import { formatMatchers } from "./labels";
import { plain } from "./names";
import { Empty, Failure, Start } from "./Notices";
import { Pick } from "./Pick";
import { RangePicker } from "./Ranges";
import { Share } from "./Share";
import { Sides } from "./Sides";
import { START, useUrlState, type State } from "./state";
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
  const timeline = useLoaded(asked && asked + (state.diff ? "" : formatMatchers(state.labels)), (signal) =>
    series(state, signal),
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
  const failures = [listed, offered, timeline, graph].flatMap((one) =>
    one.state === "failed" ? [one.error] : [],
  );
  const locked = failures.find((error) => error instanceof ApiError && error.status === 401);
  const shown = valueOf(graph);
  const samples = shown?.sample_types ?? [];
  const sample = state.sample || shown?.sample_type.type || "";
  const line = valueOf(timeline);
  return (
    <>
      {locked && <KeyPrompt key={turn} onKey={again} />}
      <header>
        <a class="brand" href="?">
          <Mark />
          profbucket
        </a>
        <Pick
          label="Service"
          value={state.service}
          options={known ?? []}
          onChange={(service) => change(only(service))}
        />
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
        {offered.state === "failed" && !locked && <Failure error={offered.error} onRetry={again} />}
        {offered.state === "there" && !types.length && (
          <p class="notice">
            This service has only execution traces: fetch one and look at it with <code>go tool trace</code>.
          </p>
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
            <Sides state={state} choices={choice} change={change}>
              {line ? (
                <Timeline
                  series={line}
                  sample={sample}
                  bands={[
                    ...(state.diff ? [{ span: state.basePicked, name: "base", kind: "base" as const }] : []),
                    { span: state.picked, name: state.diff ? "now" : "", kind: "now" as const },
                  ]}
                  onDrag={(span) =>
                    change({ [state.diff && state.drag === "base" ? "basePicked" : "picked"]: span, zoom: "" })
                  }
                />
              ) : (
                <div class="timeline none" aria-busy={timeline.state === "loading"}>
                  {timeline.state === "failed" && <p class="note">{notice(timeline.error)}</p>}
                </div>
              )}
            </Sides>
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

// What is looked at of another service: all of it, in the same range and looking the same.
function only(service: string): Partial<State> {
  const { type, sample, picked, labels, diff, basePicked, baseLabels, group, search, zoom, focus } = START;
  return { service, type, sample, picked, labels, diff, basePicked, baseLabels, group, search, zoom, focus };
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

function Mark() {
  return (
    <svg width="18" height="18" viewBox="0 0 18 18" aria-hidden="true">
      <rect x="1" y="2" width="16" height="4" rx="1" fill="var(--accent)" />
      <rect x="1" y="7" width="11" height="4" rx="1" fill="var(--accent)" opacity=".75" />
      <rect x="1" y="12" width="6" height="4" rx="1" fill="var(--accent)" opacity=".5" />
    </svg>
  );
}
