import { useRef, useState } from "preact/hooks";
import { key, mergeAddress, pprof } from "./api";
import type { State } from "./state";

// What a person types to look at the same with Go's tool. A key is never part of it, only the name of a variable.
export function command(state: State): string {
  const keyed = key.get() !== "";
  const quoted = (base: boolean): string => {
    const url = mergeAddress(state, base);
    return keyed ? `"${url.replace("://", "://x:$PROFBUCKET_KEY@")}"` : `'${url}'`;
  };
  const sample = state.sample
    ? ` -sample_index=${/^\w+$/.test(state.sample) ? state.sample : `'${state.sample.replaceAll("'", "")}'`}`
    : "";
  return `go tool pprof${sample}${state.diff ? ` -base ${quoted(true)}` : ""} ${quoted(false)}`;
}

export function Share({ state, onError }: { state: State; onError: (text: string) => void }) {
  const [said, setSaid] = useState("");
  const timer = useRef(0);
  const say = (text: string): void => {
    setSaid(text);
    clearTimeout(timer.current);
    timer.current = setTimeout(() => setSaid(""), 4000);
  };
  const copy = async (text: string, what: string): Promise<void> => {
    try {
      await navigator.clipboard.writeText(text);
      say(`${what} copied`);
    } catch {
      onError(`The browser does not let this page copy. ${what}: ${text}`);
    }
  };
  const download = async (): Promise<void> => {
    try {
      const url = URL.createObjectURL(await pprof(state));
      follow(url, `${state.service}-${state.type}.pb.gz`);
      setTimeout(() => URL.revokeObjectURL(url), 60_000);
    } catch (error) {
      onError(`The download failed: ${(error as Error).message}`);
    }
  };
  const speedscope = async (): Promise<void> => {
    const opened = open("about:blank"); // now: later the browser would take it for a pop-up
    try {
      const url = URL.createObjectURL(await pprof(state));
      const page = new URL("ui/speedscope/index.html", document.baseURI.replace(/[?#].*/s, ""));
      page.hash = `profileURL=${encodeURIComponent(url)}&title=${encodeURIComponent(`${state.service} ${state.type}`)}`;
      if (opened) opened.location.replace(page);
      else onError("The browser did not let this page open a window.");
    } catch (error) {
      opened?.close();
      onError(`speedscope has nothing to show: ${(error as Error).message}`);
    }
  };
  return (
    <div class="share" role="group" aria-label="Share and leave">
      <button type="button" onClick={() => copy(location.href, "The link")}>
        Copy link
      </button>
      <button type="button" title={command(state)} onClick={() => copy(command(state), "The command")}>
        Copy <code>go tool pprof</code> command
      </button>
      {key.get() ? (
        <button type="button" onClick={download}>
          Download pprof
        </button>
      ) : (
        <a class="button" href={mergeAddress(state)} download>
          Download pprof
        </a>
      )}
      <button type="button" onClick={speedscope}>
        Open in speedscope
      </button>
      <span class="said" role="status">
        {said}
      </span>
    </div>
  );
}

function follow(url: string, name: string): void {
  const link = document.createElement("a");
  link.href = url;
  link.download = name;
  link.click();
}
