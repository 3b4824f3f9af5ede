import { ApiError, pageUrl } from "./api";
import { sanitize } from "./names";

export const REDUCED_MERGE = 100; // profiles, if there are too many to merge all of them

interface ServiceListProps {
  services: string[];
  onChoose: (service: string) => void;
}

export function ServiceList({ services, onChoose }: ServiceListProps) {
  return (
    <section class="message">
      <h1>Choose a service</h1>
      <ul>
        {services.map((service) => (
          <li key={service}>
            <button type="button" dir="auto" onClick={() => onChoose(service)}>
              {sanitize(service)}
            </button>
          </li>
        ))}
      </ul>
    </section>
  );
}

interface ErrorProps {
  error: Error;
  onRetry: () => void;
}

// Shown in place of the page's content if the services, or the details of one, cannot be loaded.
export function ServiceError({ error, onRetry }: ErrorProps) {
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

interface GraphErrorProps extends ErrorProps {
  onShowAll: () => void;
  onReduce: () => void;
  onEndFocus: (() => void) | null;
}

// Shown in place of the flame graph, with the actions that may help.
export function GraphError({ error, onShowAll, onReduce, onEndFocus, onRetry }: GraphErrorProps) {
  const empty = error instanceof ApiError && error.status === 404;
  return (
    <section class="message" role="alert">
      <h2>{empty ? "No profiles found" : "No flame graph"}</h2>
      <p>{sentenceOf(error)}</p>
      <div class="actions">
        {empty && (
          <button type="button" class="primary" onClick={onShowAll}>
            Show all profiles
          </button>
        )}
        {error instanceof ApiError && error.mergeIsTooLarge && (
          <button type="button" class="primary" onClick={onReduce}>
            Merge {REDUCED_MERGE} profiles, evenly spread
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
