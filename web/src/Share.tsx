import { useRef, useState } from "preact/hooks";
import { pageUrl } from "./api";
import { apiKey } from "./apiKey";
import { copyText } from "./clipboard";
import { ExportMenu } from "./ExportMenu";
import { pprofCommand } from "./pprofCommand";
import { pinState, toQuery, type State } from "./state";

const STATUS_MILLISECONDS = 4000;

interface Props {
  state: State;
  onError: (message: string) => void;
}

function linkTo(state: State): string {
  const url = pageUrl("");
  url.search = toQuery(state);
  return url.href;
}

// The actions that take the selected profiles elsewhere: a link, a command, files.
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
      <ExportMenu state={state} onError={onError} />
      <span class="status" role="status">
        {status}
      </span>
    </div>
  );
}
