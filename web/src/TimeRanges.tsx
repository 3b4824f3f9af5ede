import { useEffect, useState } from "preact/hooks";
import type { Span } from "./state";
import { PRESETS } from "./times";

interface RangeProps {
  range: Span;
  onChange: (range: Span) => void;
  onFit: () => void;
  onReload: () => void;
}

// What the timeline shows: a preset, all there is, or any two times.
export function RangePicker({ range, onChange, onFit, onReload }: RangeProps) {
  return (
    <div class="ranges" role="group" aria-label="Time range">
      <div class="presets">
        {PRESETS.map(([name, span]) => (
          <button
            type="button"
            key={name}
            aria-pressed={span.from === range.from && span.to === range.to}
            onClick={() => onChange(span)}
          >
            {name}
          </button>
        ))}
        <button type="button" title="From the first profile to the last" onClick={onFit}>
          All
        </button>
      </div>
      <Moment label="From" value={range.from} onChange={(from) => onChange({ ...range, from })} />
      <Moment label="To" value={range.to} onChange={(to) => onChange({ ...range, to })} />
      <button type="button" onClick={onReload}>
        Reload
      </button>
    </div>
  );
}

interface PickedProps {
  name: string;
  kind: "now" | "base";
  picked: Span | null;
  range: Span;
  onChange: (picked: Span | null) => void;
  onZoom?: () => void;
}

// The part of the timeline that is looked at; dragging does the same.
export function Picked({ name, kind, picked, range, onChange, onZoom }: PickedProps) {
  return (
    <div class={`picked ${kind}`} role="group" aria-label={name}>
      {picked ? (
        <>
          <span class="caption">{name}</span>
          <Moment label="from" value={picked.from} onChange={(from) => onChange({ ...picked, from })} />
          <Moment label="to" value={picked.to} onChange={(to) => onChange({ ...picked, to })} />
          {onZoom && (
            <button type="button" class="small" onClick={onZoom}>
              Zoom in
            </button>
          )}
          <button type="button" class="small" onClick={() => onChange(null)}>
            Whole range
          </button>
        </>
      ) : (
        <>
          <button type="button" class="small" aria-label={`Pick a part: ${name}`} onClick={() => onChange(range)}>
            Pick a part
          </button>
          <span class="note">of the range, or drag on the timeline</span>
        </>
      )}
    </div>
  );
}

function Moment({ label, value, onChange }: { label: string; value: string; onChange: (value: string) => void }) {
  const [text, setText] = useState(value);
  useEffect(() => setText(value), [value]);
  const commit = (): void => {
    const wanted = text.trim();
    if (!wanted) setText(value);
    else if (wanted !== value) onChange(wanted);
  };
  return (
    <label class="moment">
      {label}
      <input
        aria-label={label}
        value={text}
        size={19}
        spellcheck={false}
        title="2006-01-02T15:04:05 (UTC), RFC 3339, unix seconds, now, now-1h"
        onInput={(event) => setText(event.currentTarget.value)}
        onBlur={commit}
        onKeyDown={(event) => {
          if (event.key === "Enter") commit();
          if (event.key === "Escape") setText(value);
        }}
      />
    </label>
  );
}
