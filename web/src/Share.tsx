import { useRef, useState } from "preact/hooks";
import { fetchPprof, mergeUrl, pageUrl } from "./api";
import { apiKey } from "./apiKey";
import { copyText } from "./clipboard";
import { pprofCommand } from "./pprofCommand";
import { pinState, toQuery, type State } from "./state";

const STATUS_MILLISECONDS = 4000;
const DOWNLOAD_MILLISECONDS = 60_000; // until the browser has read the file

interface Props {
  state: State;
  onError: (message: string) => void;
}

function linkTo(state: State): string {
  const url = pageUrl("");
  url.search = toQuery(state);
  return url.href;
}

// The actions that export the selected profiles: a link, a command, a download, speedscope.
export function Share({ state, onError }: Props) {
  const [status, setStatus] = useState("");
  const timer = useRef(0);
  const hasKey = apiKey.get() !== "";
  const command = pprofCommand(state, hasKey);
  const copy = async (name: string, text: string): Promise<void> => {
    if (!(await copyText(text))) {
      onError(`The browser denied access to the clipboard. ${name}: ${text}`);
      return;
    }
    setStatus(`${name} copied`);
    clearTimeout(timer.current);
    timer.current = window.setTimeout(() => setStatus(""), STATUS_MILLISECONDS);
  };
  const download = async (): Promise<void> => {
    try {
      const url = URL.createObjectURL(await fetchPprof(state));
      const link = document.createElement("a");
      link.href = url;
      link.download = `${state.service}-${state.profileType}.pb.gz`;
      link.click();
      setTimeout(() => URL.revokeObjectURL(url), DOWNLOAD_MILLISECONDS);
    } catch (error) {
      onError(`The download failed: ${(error as Error).message}`);
    }
  };
  const openSpeedscope = async (): Promise<void> => {
    // Opened before the first await: later, the browser blocks it as a pop-up.
    const tab = open("about:blank");
    try {
      const profileUrl = URL.createObjectURL(await fetchPprof(state));
      const title = `${state.service} ${state.profileType}`;
      const page = pageUrl("ui/speedscope/index.html");
      page.hash = `view=left-heavy&profileURL=${encodeURIComponent(profileUrl)}&title=${encodeURIComponent(title)}`;
      if (tab) tab.location.replace(page);
      else onError("The browser blocked the new tab. Allow pop-ups for this page.");
    } catch (error) {
      tab?.close();
      onError(`Cannot open speedscope: ${(error as Error).message}`);
    }
  };
  return (
    <div class="share" role="group" aria-label="Share and export">
      <button
        type="button"
        title="With absolute times, so that it keeps its meaning"
        onClick={() => copy("Link", linkTo(pinState(state, Date.now() / 1000)))}
      >
        Copy link
      </button>
      <button type="button" title={command} onClick={() => copy("Command", command)}>
        Copy <code>go tool pprof</code> command
      </button>
      {hasKey ? (
        <button type="button" onClick={download}>
          Download pprof
        </button>
      ) : (
        <a class="button" href={mergeUrl(state)} download>
          Download pprof
        </a>
      )}
      <button type="button" onClick={openSpeedscope}>
        Open in speedscope
      </button>
      <span class="status" role="status">
        {status}
      </span>
    </div>
  );
}
