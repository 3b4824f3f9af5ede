import { ApiError } from "./api";
import { plain } from "./names";

export function Start({ services, onChoose }: { services: string[]; onChoose: (service: string) => void }) {
  return (
    <section class="start">
      <h1>Which service?</h1>
      <ul>
        {services.map((service) => (
          <li key={service}>
            <button type="button" dir="auto" onClick={() => onChoose(service)}>
              {plain(service)}
            </button>
          </li>
        ))}
      </ul>
    </section>
  );
}

interface FailureProps {
  error: Error;
  onRetry: () => void;
}

export function Failure({ error, onRetry }: FailureProps) {
  const empty = error instanceof ApiError && error.status === 404;
  const url = new URL("api/0/profiles", document.baseURI.replace(/[?#].*/s, "")).href;
  return (
    <section class="start" role="alert">
      <h1>{empty ? "Nothing is stored yet" : "That did not work"}</h1>
      <p>{sentence(error)}</p>
      {empty && (
        <>
          <p>Post a first profile, as of a Go program with net/http/pprof:</p>
          <pre tabIndex={0}>
            {`curl -o cpu.pb.gz 'http://localhost:6060/debug/pprof/profile?seconds=5'\ncurl --data-binary @cpu.pb.gz '${url}?service=api&type=cpu'`}
          </pre>
        </>
      )}
      <button type="button" onClick={onRetry}>
        Try again
      </button>
    </section>
  );
}

interface EmptyProps extends FailureProps {
  onFit: () => void;
  onLess: () => void;
  onWhole: (() => void) | null;
}

export function Empty({ error, onFit, onLess, onWhole, onRetry }: EmptyProps) {
  const status = error instanceof ApiError ? error.status : 0;
  return (
    <section class="start" role="alert">
      <h2>{status === 404 ? "No profiles here" : "There is no graph"}</h2>
      <p>{sentence(error)}</p>
      <div class="actions">
        {status === 404 && (
          <button type="button" class="primary" onClick={onFit}>
            Show all there is
          </button>
        )}
        {status === 422 && (
          <button type="button" class="primary" onClick={onLess}>
            Merge 100 of them, evenly spread
          </button>
        )}
        {onWhole && (
          <button type="button" onClick={onWhole}>
            Back to the whole graph
          </button>
        )}
        <button type="button" onClick={onRetry}>
          Try again
        </button>
      </div>
    </section>
  );
}

function sentence(error: Error): string {
  const text = plain(error.message);
  return `${/^\w+=/.test(text) ? text.charAt(0) : text.charAt(0).toUpperCase()}${text.slice(1)}.`;
}
