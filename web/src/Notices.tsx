import { ApiError, pageUrl } from "./api";
import { sanitize } from "./names";
import type { TimeRange } from "./state";
import { lastQuarter } from "./times";

export const REDUCED_MERGE = 100; // profiles, if there are too many to merge all of them

interface ErrorProps {
  error: Error;
  onRetry: () => void;
}

// Shown in place of the page's content if the services cannot be loaded.
export function ServicesError({ error, onRetry }: ErrorProps) {
  const empty = error instanceof ApiError && error.status === 404;
  return (
    <section class="message" role="alert">
      <h1>{empty ? "No profiles yet" : "The request failed"}</h1>
      <p>{sentenceOf(error)}</p>
      {empty && (
        <>
          <p>Send a first profile, for example of a Go program that uses net/http/pprof:</p>
          <pre tabIndex={0}>
            {"curl -o cpu.pb.gz 'http://localhost:6060/debug/pprof/profile?seconds=5'\n" +
              `curl --data-binary @cpu.pb.gz '${pageUrl("api/0/profiles").href}?service=api&type=cpu'`}
          </pre>
        </>
      )}
      <button type="button" onClick={onRetry}>
        Retry
      </button>
    </section>
  );
}

// Shown in place of the page's content if the details of a service cannot be loaded.
export function ServiceError({ error, service, onRetry }: ErrorProps & { service: string }) {
  const status = error instanceof ApiError ? error.status : 0;
  const title = { 404: "Unknown service", 403: "Not allowed" }[status] ?? "The request failed";
  return (
    <section class="message" role="alert">
      <h1>{title}</h1>
      <p dir="auto">
        {status === 404
          ? `The collector has no profiles of ${sanitize(service).slice(0, 200)}.`
          : sentenceOf(error)}
      </p>
      <div class="actions">
        <a class="button primary" href="?">
          All services
        </a>
        <button type="button" onClick={onRetry}>
          Retry
        </button>
      </div>
    </section>
  );
}

interface GraphErrorProps extends ErrorProps {
  range: TimeRange; // of the merged profiles
  onNarrow: (range: TimeRange) => void;
  onShowAll: () => void;
  onReduce: (() => void) | null; // merges a sample of the profiles
  onUsual: (() => void) | null; // ends a choice of how values become one
  onEndFocus: (() => void) | null;
}

// What exceeds a limit of a merge, by the error's code.
const TOO_LARGE: Record<string, string> = {
  max_merge_exceeded: "These are too many profiles to merge at once",
  max_merge_bytes_exceeded: "These profiles are too large to merge at once",
  max_merge_seconds_exceeded: "Merging these profiles takes too long",
};

// Shown in place of the flame graph, with the actions that may help.
export function GraphError(props: GraphErrorProps) {
  const { error, range, onNarrow, onShowAll, onReduce, onUsual, onEndFocus, onRetry } = props;
  const noIncrease = error instanceof ApiError && ["no_counters", "nothing_to_compare"].includes(error.code);
  const empty = error instanceof ApiError && error.status === 404;
  const tooLarge = error instanceof ApiError && error.mergeIsTooLarge;
  const quarter = lastQuarter(range, Math.floor(Date.now() / 1000));
  const title = empty
    ? "No profiles found"
    : tooLarge
      ? (TOO_LARGE[error.code] ?? "Too much to merge")
      : noIncrease
        ? "There is no increase"
        : null;
  return (
    <section class="message" role="alert">
      <h2>{title ?? "No flame graph"}</h2>
      {tooLarge && <p>Choose a shorter time or more labels, or merge a sample of the profiles.</p>}
      <p class={tooLarge ? "note" : ""} dir="auto">
        {sentenceOf(error)}
      </p>
      <div class="actions">
        {empty && (
          <button type="button" class="primary" onClick={onShowAll}>
            Show all profiles
          </button>
        )}
        {tooLarge && (
          <>
            {quarter && (
              <button type="button" class="primary" onClick={() => onNarrow(quarter.range)}>
                Only the last {quarter.length}
              </button>
            )}
            {onReduce && (
              <button type="button" onClick={onReduce}>
                Merge {REDUCED_MERGE} profiles, evenly spread
              </button>
            )}
          </>
        )}
        {noIncrease && onUsual && (
          <button type="button" class="primary" onClick={onUsual}>
            Show the usual values
          </button>
        )}
        {onEndFocus && (
          <button type="button" onClick={onEndFocus}>
            Show the whole graph
          </button>
        )}
        <button type="button" onClick={onRetry}>
          Retry
        </button>
      </div>
    </section>
  );
}

// Returns the message as a sentence; one that begins with a parameter, as "from='x': …", keeps its first letter.
function sentenceOf(error: Error): string {
  const text = sanitize(error.message);
  return `${/^\w+=/.test(text) ? text : text.charAt(0).toUpperCase() + text.slice(1)}.`;
}
