import { useRef, useState } from "preact/hooks";
import { EXPORT_FORMATS, exportUrl, fetchMerge, pageUrl, type ExportFormat } from "./api";
import { apiKey } from "./apiKey";
import { copyText } from "./clipboard";
import { saveBlob } from "./download";
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

// The actions that export the selected profiles: a link, a command, a download, speedscope.
export function Share({ state, onError }: Props) {
  const [status, setStatus] = useState("");
  const timer = useRef(0);
  const exports = useRef<HTMLDetailsElement>(null);
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
  const download = async (format: ExportFormat): Promise<void> => {
    try {
      saveBlob(await fetchMerge(state, format), fileName(format));
    } catch (error) {
      onError(`The download failed: ${(error as Error).message}`);
    }
  };
  const fileName = (format: ExportFormat): string =>
    `${state.service}-${state.profileType}${EXPORT_FORMATS[format].suffix}`;
  const openSpeedscope = async (): Promise<void> => {
    // Opened before the first await: later, the browser blocks it as a pop-up.
    const tab = open("about:blank");
    try {
      const profileUrl = URL.createObjectURL(await fetchMerge(state, "pprof"));
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
      <details
        class="export"
        ref={exports}
        onFocusOut={(event) => {
          if (!exports.current?.contains(event.relatedTarget as Node | null)) exports.current!.open = false;
        }}
      >
        <summary class="button">Export</summary>
        <div class="menu" onClick={() => (exports.current!.open = false)}>
          <button type="button" onClick={openSpeedscope}>
            Open in speedscope
          </button>
          {(Object.keys(EXPORT_FORMATS) as ExportFormat[]).map((format) =>
            hasKey ? (
              <button type="button" key={format} onClick={() => download(format)}>
                {EXPORT_FORMATS[format].label}
              </button>
            ) : (
              <a class="button" key={format} href={exportUrl(state, format)} download={fileName(format)}>
                {EXPORT_FORMATS[format].label}
              </a>
            ),
          )}
        </div>
      </details>
      <span class="status" role="status">
        {status}
      </span>
    </div>
  );
}
