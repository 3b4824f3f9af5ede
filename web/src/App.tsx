import { useEffect, useMemo, useRef, useState } from "preact/hooks";
import { ApiKeyPrompt } from "./ApiKeyPrompt";
import { ApiError, fetchFlameGraph, fetchSeries, fetchServiceDetails, fetchServices, pageUrl } from "./api";
import { apiKey, openKeyChannel, type KeyChannel } from "./apiKey";
import { findExtent } from "./extent";
import { Grouping } from "./Grouping";
import { Header } from "./Header";
import {
  latestValue,
  useFetched,
  useLive,
  useSearchKey,
  useStateOf,
  useTheme,
  useUrlState,
  useZone,
} from "./hooks";
import { formatMatchers } from "./labels";
import { sanitize } from "./names";
import { GraphError, REDUCED_MERGE, ServiceError, ServicesError } from "./Notices";
import { ProfilePicker } from "./ProfilePicker";
import { ProfileView } from "./ProfileView";
import { Selections } from "./Selections";
import { Services } from "./Services";
import { Share } from "./Share";
import { switchProfileType, switchService, type State } from "./state";
import { TimelinePanel } from "./TimelinePanel";
import { TimeRangePicker } from "./TimeRanges";
import { ZoneContext } from "./zone";

export function App() {
  const [state, update] = useUrlState();
  const [theme, setTheme, dark] = useTheme();
  const [zone, setZone] = useZone();
  const [reloads, setReloads] = useState(0); // part of all keys below, so that a reload fetches everything again
  const [refreshes, setRefreshes] = useState(0); // as reloads, of the timeline and the flame graph only
  const [live, setLive] = useState(false);
  const [cancelledKey, setCancelledKey] = useState("");
  const { service, profileType } = state;
  const shown = JSON.stringify([service, profileType]);
  const [limit, setLimit] = useStateOf<number | null>(shown, null);
  const [errorMessage, setErrorMessage] = useStateOf(shown, "");

  const services = useFetched(`${reloads}`, fetchServices);
  const details = useFetched(service ? `${reloads} ${service}` : null, (signal) =>
    fetchServiceDetails(service, signal),
  );
  const summaries = latestValue(services);
  const serviceNames = useMemo(() => summaries?.map((summary) => summary.service), [summaries]);
  const serviceDetails = latestValue(details);
  const profileTypes = useMemo(
    () => serviceDetails?.types.filter((type) => type !== "trace") ?? [],
    [serviceDetails],
  );
  const ready = Boolean(service && profileType);
  const reloadKey = `${reloads} ${refreshes}`;
  const series = useFetched(ready ? JSON.stringify([reloadKey, ...timelineInputs(state)]) : null, (signal) =>
    fetchSeries(state, signal),
  );
  const hasVersions = serviceDetails?.labels.some(({ key, values }) => key === "version" && values.length > 1);
  const versionState = { ...state, groupBy: "version" };
  const versions = useFetched(
    ready && hasVersions ? JSON.stringify([reloadKey, ...timelineInputs(versionState)]) : null,
    (signal) => fetchSeries(versionState, signal),
  );
  const graphKey = JSON.stringify([reloadKey, limit, ...graphInputs(state)]);
  const isCancelled = graphKey === cancelledKey;
  const graph = useFetched(ready && !isCancelled ? graphKey : null, async (signal) => ({
    service,
    profileType,
    data: await fetchFlameGraph(state, limit, signal),
  }));

  useEffect(() => {
    if (serviceNames?.length === 1 && !service) update({ service: serviceNames[0]! }, false);
  }, [serviceNames, service, update]);
  useEffect(() => {
    if (details.state === "loaded" && profileTypes.length && !profileTypes.includes(profileType)) {
      update(switchProfileType(profileTypes.includes("cpu") ? "cpu" : profileTypes[0]!), false);
    }
  }, [details, profileTypes, profileType, update]);
  useEffect(() => {
    document.title = ready ? `${sanitize(service)} ${profileType} · profbucket` : "profbucket";
  }, [ready, service, profileType]);

  const reload = (): void => setReloads((count) => count + 1);
  useSearchKey();
  useLive(live && state.range.to === "now", () => setRefreshes((count) => count + 1));
  const keyChannel = useRef<KeyChannel | null>(null);
  useEffect(() => {
    const channel = openKeyChannel(pageUrl("").pathname, () => setReloads((count) => count + 1));
    keyChannel.current = channel;
    return () => channel.close();
  }, []);
  const showAll = async (): Promise<void> => {
    try {
      update({ range: await findExtent(state), selection: null, baseSelection: null });
    } catch (error) {
      setErrorMessage((error as Error).message);
    }
  };
  const needsKey = [services, details, series, graph].some(
    (fetched) => fetched.state === "failed" && fetched.error instanceof ApiError && fetched.error.status === 401,
  );
  useEffect(() => {
    if (needsKey) keyChannel.current?.ask();
  }, [needsKey]);
  const latestGraph = latestValue(graph);
  const data = latestGraph?.data ?? null;
  const timeline = latestValue(series);
  // The timeline is often there first, and knows the sample types, too: the last one is a profile's own by default.
  const isCurrent = latestGraph?.service === service && latestGraph.profileType === profileType;
  const sampleTypes = (isCurrent ? data?.sample_types : timeline?.sample_types) ?? [];
  const defaultSampleType = isCurrent ? data?.sample_type : timeline?.sample_types.at(-1);
  const sampleType = state.sampleType || defaultSampleType?.type || "";
  const usualAggregate =
    state.aggregate === "auto"
      ? timeline?.aggregates[timeline.sample_types.findIndex(({ type }) => type === sampleType)]
      : undefined;
  const mergedRange = state.selection ?? state.range;
  return (
    <ZoneContext.Provider value={zone}>
      {needsKey && <ApiKeyPrompt key={reloads} onSubmit={reload} />}
      <Header
        picker={
          <ProfilePicker
            state={state}
            update={update}
            services={serviceNames ?? []}
            profileTypes={profileTypes}
            sampleTypes={sampleTypes}
            sampleType={sampleType}
            usualAggregate={usualAggregate ?? ""}
          />
        }
        share={ready && !needsKey && <Share state={{ ...state, sampleType }} onError={setErrorMessage} />}
        onForgetKey={
          apiKey.get()
            ? () => {
                apiKey.forget();
                keyChannel.current?.forget();
                reload();
              }
            : null
        }
        zone={zone}
        onZone={setZone}
        theme={theme}
        onTheme={setTheme}
      />
      <main>
        {services.state === "failed" && !needsKey && <ServicesError error={services.error} onRetry={reload} />}
        {summaries && !service && (
          <Services
            services={summaries}
            reloads={reloads}
            state={state}
            update={update}
            onChoose={(name, type) => update({ ...switchService(name), profileType: type })}
            onReload={reload}
          />
        )}
        {details.state === "failed" && services.state !== "failed" && !needsKey && (
          <ServiceError error={details.error} service={service} onRetry={reload} />
        )}
        {details.state === "loaded" && !profileTypes.length && (
          <p class="notice">
            This service has execution traces only. Download one and open it with <code>go tool trace</code>.
          </p>
        )}
        {ready && !needsKey && details.state !== "failed" && (
          <>
            <section class="toolbar" aria-label="Time range and comparison">
              <TimeRangePicker
                range={state.range}
                onChange={(range) => update({ range, selection: null, baseSelection: null })}
                onShowAll={showAll}
                onReload={reload}
                live={live}
                onLive={setLive}
              />
              <Grouping state={state} details={serviceDetails} update={update} />
            </section>
            {errorMessage && (
              <p class="notice error" role="alert">
                {errorMessage}{" "}
                <button type="button" class="small" onClick={() => setErrorMessage("")}>
                  Close
                </button>
              </p>
            )}
            <Selections state={state} details={serviceDetails} update={update}>
              <TimelinePanel
                state={state}
                update={update}
                series={series}
                versions={versions}
                sampleType={sampleType}
                showError={graph.state !== "failed"}
              />
            </Selections>
            {graph.state === "failed" ? (
              <GraphError
                error={graph.error}
                range={mergedRange}
                onNarrow={(selection) =>
                  update({ selection, ...(state.diff ? { baseSelection: selection } : {}) })
                }
                onShowAll={showAll}
                onReduce={state.aggregate === "delta" ? null : () => setLimit(REDUCED_MERGE)}
                onUsual={state.aggregate === "auto" ? null : () => update({ aggregate: "auto" })}
                onEndFocus={state.focus ? () => update({ focus: "" }) : null}
                onRetry={reload}
              />
            ) : (
              <ProfileView
                data={data}
                loading={graph.state === "loading"}
                onCancel={() => setCancelledKey(graphKey)}
                onResume={isCancelled ? () => setCancelledKey("") : null}
                limit={limit}
                state={state}
                update={update}
                dark={dark}
              />
            )}
          </>
        )}
      </main>
    </ZoneContext.Provider>
  );
}

// Returns the parts of the state that the timeline depends on.
function timelineInputs({ service, profileType, aggregate, range, groupBy, diff, labels }: State): unknown[] {
  return [service, profileType, aggregate, range, groupBy, diff ? "" : formatMatchers(labels)];
}

// Returns the parts of the state that the flame graph's data depend on.
function graphInputs(state: State): unknown[] {
  const { range, selection, labels, diff } = state;
  const base = diff ? [state.baseSelection ?? range, formatMatchers(state.baseLabels)] : null;
  const { service, profileType, sampleType, aggregate, focus, refinements } = state;
  const values = [service, profileType, sampleType, aggregate, focus, refinements];
  return [...values, selection ?? range, formatMatchers(labels), base];
}
