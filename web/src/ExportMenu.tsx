import { useRef } from "preact/hooks";
import { EXPORT_FORMATS, exportUrl, fetchMerge, pageUrl, type ExportFormat } from "./api";
import { apiKey } from "./apiKey";
import { joinCollapsed } from "./collapsed";
import { saveBlob } from "./download";
import type { State } from "./state";

interface Props {
  state: State;
  onError: (message: string) => void;
}

// The files of the selected profiles; in a comparison, those of each side and of both.
export function ExportMenu({ state, onError }: Props) {
  const menu = useRef<HTMLDetailsElement>(null);
  const hasKey = apiKey.get() !== "";
  const name = `${state.service}-${state.profileType}`;
  const fileName = (format: ExportFormat, base: boolean): string =>
    `${name}${base ? "-base" : ""}${EXPORT_FORMATS[format].suffix}`;
  const report = async (failure: string, action: () => Promise<void>): Promise<void> => {
    try {
      await action();
    } catch (error) {
      onError(`${failure}: ${(error as Error).message}`);
    }
  };
  const download = (format: ExportFormat, base: boolean): Promise<void> =>
    report("The download failed", async () => {
      saveBlob(await fetchMerge(state, format, base), fileName(format, base));
    });
  const downloadBoth = (): Promise<void> =>
    report("The download failed", async () => {
      const blobs = [fetchMerge(state, "collapsed", true), fetchMerge(state, "collapsed")];
      const [base, comparison] = await Promise.all(blobs.map(async (blob) => (await blob).text()));
      saveBlob(new Blob([joinCollapsed(base!, comparison!)]), `${name}-both.collapsed.txt`);
    });
  const openSpeedscope = (base: boolean): Promise<void> => {
    // Opened before the first await: later, the browser blocks it as a pop-up.
    const tab = open("about:blank");
    return report("Cannot open speedscope", async () => {
      try {
        const profileUrl = URL.createObjectURL(await fetchMerge(state, "pprof", base));
        const title = `${state.service} ${state.profileType}${base ? " base" : ""}`;
        const page = pageUrl("ui/speedscope/index.html");
        page.hash = `view=left-heavy&profileURL=${encodeURIComponent(profileUrl)}&title=${encodeURIComponent(title)}`;
        if (tab) tab.location.replace(page);
        else onError("The browser blocked the new tab. Allow pop-ups for this page.");
      } catch (error) {
        tab?.close();
        throw error;
      }
    });
  };
  const filesOf = (base: boolean) => (
    <>
      <button type="button" onClick={() => openSpeedscope(base)}>
        Open in speedscope
      </button>
      {(Object.keys(EXPORT_FORMATS) as ExportFormat[]).map((format) =>
        hasKey || base ? ( // the collector calls the files of both sides the same
          <button type="button" key={format} onClick={() => download(format, base)}>
            {EXPORT_FORMATS[format].label}
          </button>
        ) : (
          <a class="button" key={format} href={exportUrl(state, format, base)} download={fileName(format, base)}>
            {EXPORT_FORMATS[format].label}
          </a>
        ),
      )}
    </>
  );
  return (
    <details
      class="export"
      ref={menu}
      onFocusOut={(event) => {
        if (!menu.current?.contains(event.relatedTarget as Node | null)) menu.current!.open = false;
      }}
    >
      <summary class="button">Export</summary>
      <div class="menu" onClick={() => (menu.current!.open = false)}>
        {state.diff ? (
          <>
            <div class="group" role="group" aria-label="Both">
              <span class="caption">Both</span>
              <button
                type="button"
                title="Each stack with its value in the base and in the comparison"
                onClick={downloadBoth}
              >
                Collapsed stacks, two values
              </button>
            </div>
            <div class="group" role="group" aria-label="Comparison">
              <span class="caption">Comparison</span>
              {filesOf(false)}
            </div>
            <div class="group" role="group" aria-label="Base">
              <span class="caption">Base</span>
              {filesOf(true)}
            </div>
          </>
        ) : (
          filesOf(false)
        )}
      </div>
    </details>
  );
}
