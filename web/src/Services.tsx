import { useMemo, useState } from "preact/hooks";
import { fetchCpuOfServices, type ServiceSummary } from "./api";
import { latestValue, useFetched, useSettled } from "./hooks";
import { sanitize } from "./names";
import {
  cpuByService,
  formatLastSeen,
  formatProfiles,
  searchServices,
  sortByLastSeen,
  sparkline,
  type Cpu,
} from "./serviceRows";
import { DEFAULT_STATE, toQuery, type State, type TimeRange, type UpdateState } from "./state";
import { TimeRangePicker } from "./TimeRanges";
import { parseTime, pinRange } from "./times";
import { formatValue } from "./units";

const PAGE_ROWS = 50; // whose CPU time is asked for in one request
const SETTLE_MILLISECONDS = 250;
const CPU_NOTE =
  "CPU profiled is the CPU time in the profiles of the time range. Agents profile a part of the time, such as " +
  "10 s of each minute: a service has used more.";
const [SPARK_WIDTH, SPARK_HEIGHT] = [140, 20]; // pixels

interface Props {
  services: ServiceSummary[];
  reloads: number;
  state: State;
  update: UpdateState;
  onChoose: (service: string, profileType: string) => void;
  onReload: () => void;
}

// The start view: all services, with a search and with the CPU time of those that are shown.
export function Services({ services, reloads, state, update, onChoose, onReload }: Props) {
  const [order, setOrder] = useState<"name" | "last seen">("name");
  const [rowCount, setRowCount] = useState(PAGE_ROWS);
  const found = useMemo(() => {
    const matching = searchServices(services, state.search);
    return order === "name" ? matching : sortByLastSeen(matching);
  }, [services, state.search, order]);
  const pages = Array.from({ length: Math.ceil(Math.min(found.length, rowCount) / PAGE_ROWS) }, (_, page) =>
    found.slice(page * PAGE_ROWS, Math.min((page + 1) * PAGE_ROWS, rowCount)),
  );
  const now = Date.now() / 1000;
  return (
    <section class="services" aria-label="Services">
      <div class="controls">
        <h1>Services</h1>
        <label class="search">
          <input
            type="search"
            aria-label="Search services"
            placeholder="search services, press /"
            value={state.search}
            spellcheck={false}
            onInput={(event) => {
              setRowCount(PAGE_ROWS);
              update({ search: event.currentTarget.value }, false);
            }}
          />
        </label>
        <output class="note">
          {found.length === services.length ? services.length : `${found.length} of ${services.length}`} services
        </output>
        <span class="spacer" />
        <TimeRangePicker range={state.range} onChange={(range) => update({ range })} onReload={onReload} />
      </div>
      <div class="table" tabIndex={0} role="region" aria-label="All services">
        <table>
          <thead>
            <tr>
              {(["name", "last seen"] as const).map((by) => (
                <th
                  key={by}
                  scope="col"
                  class={by === "name" ? "name" : "seen"}
                  aria-sort={order === by ? (by === "name" ? "ascending" : "descending") : "none"}
                >
                  <button type="button" onClick={() => setOrder(by)}>
                    {by === "name" ? "Service" : "Last seen"}
                    <span class="arrow" aria-hidden="true">
                      {order === by ? (by === "name" ? "▴" : "▾") : ""}
                    </span>
                  </button>
                </th>
              ))}
              <th scope="col" class="types">
                Types
              </th>
              <th scope="col" class="cpu" title={CPU_NOTE} aria-describedby="cpu-note">
                CPU profiled
              </th>
              <th scope="col" class="spark" title="CPU profiled by time; each row has a scale of its own">
                Over time
              </th>
            </tr>
          </thead>
          {pages.map((page, i) => (
            <Rows key={i} services={page} reloads={reloads} state={state} now={now} onChoose={onChoose} />
          ))}
        </table>
        {!found.length && <p class="note">No service matches the search.</p>}
        {found.length > rowCount && (
          <button type="button" class="more" onClick={() => setRowCount(rowCount + PAGE_ROWS)}>
            Show more ({rowCount} of {found.length} shown)
          </button>
        )}
      </div>
      <p class="note" id="cpu-note">
        {CPU_NOTE}
      </p>
    </section>
  );
}

interface RowsProps extends Pick<Props, "services" | "reloads" | "state" | "onChoose"> {
  now: number;
}

// Some services, whose CPU time is one request.
function Rows({ services, reloads, state, now, onChoose }: RowsProps) {
  const names = services.filter(({ types }) => types.includes("cpu")).map(({ service }) => service);
  const { range } = state;
  const key = useSettled(JSON.stringify([reloads, range, names]), SETTLE_MILLISECONDS);
  const series = useFetched(names.length ? key : null, (signal) =>
    fetchCpuOfServices(names, range, sparkStep(range), signal),
  );
  const timelines = latestValue(series);
  const cpus = useMemo(() => timelines && cpuByService(timelines), [timelines]);
  return (
    <tbody aria-busy={series.state === "loading"}>
      {services.map((summary) => {
        const cpu = cpus?.get(summary.service);
        return (
          <tr key={summary.service}>
            <td class="name">
              <ServiceLink summary={summary} profileType="" state={state} onChoose={onChoose} />
            </td>
            <td class="seen">{formatLastSeen(summary, cpu, now)}</td>
            <td class="types">
              {summary.types.map((type) => (
                <ServiceLink key={type} summary={summary} profileType={type} state={state} onChoose={onChoose} />
              ))}
            </td>
            <td class="cpu" title={cpu && formatProfiles(cpu)}>
              {cpu ? formatValue(cpu.total, "nanoseconds") : "–"}
            </td>
            <td class="spark">{cpu && <Sparkline cpu={cpu} />}</td>
          </tr>
        );
      })}
      {series.state === "failed" && (
        <tr>
          <td colSpan={5} class="error" role="alert">
            {series.error.message}
          </td>
        </tr>
      )}
    </tbody>
  );
}

// Returns the seconds of a range that two pixels show, so that they also tell when a service was last seen.
function sparkStep(range: TimeRange): number | null {
  const { from, to } = pinRange(range, Math.floor(Date.now() / 1000));
  const seconds = parseTime(to) - parseTime(from);
  return seconds > 0 ? Math.ceil(seconds / (SPARK_WIDTH / 2)) : null;
}

interface LinkProps extends Pick<Props, "state" | "onChoose"> {
  summary: ServiceSummary;
  profileType: string; // empty: the link is the service's name
}

// A link to a service, which can be opened in another tab.
function ServiceLink({ summary: { service }, profileType, state, onChoose }: LinkProps) {
  return (
    <a
      class="link"
      dir="auto"
      href={`?${toQuery({ ...DEFAULT_STATE, range: state.range, service, profileType })}`}
      onClick={(event) => {
        if (event.ctrlKey || event.metaKey || event.shiftKey || event.button) return;
        event.preventDefault();
        onChoose(service, profileType);
      }}
    >
      {sanitize(profileType || service)}
    </a>
  );
}

function Sparkline({ cpu }: { cpu: Cpu }) {
  return (
    <svg width={SPARK_WIDTH} height={SPARK_HEIGHT} aria-hidden="true">
      <path d={sparkline(cpu.values, SPARK_WIDTH, SPARK_HEIGHT)} />
    </svg>
  );
}
