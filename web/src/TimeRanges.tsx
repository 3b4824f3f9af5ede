import { useContext } from "preact/hooks";
import { useStateOf } from "./hooks";
import type { TimeRange } from "./state";
import { PRESETS } from "./times";
import { fromInput, toInput, ZoneContext } from "./zone";

interface RangeProps {
  range: TimeRange;
  onChange: (range: TimeRange) => void;
  onShowAll?: () => void;
  onReload: () => void;
  live?: boolean; // reloads by itself
  onLive?: (live: boolean) => void;
}

// The range of the timeline: a preset, all profiles, or any two times.
export function TimeRangePicker({ range, onChange, onShowAll, onReload, live, onLive }: RangeProps) {
  return (
    <div class="ranges" role="group" aria-label="Time range">
      <div class="presets">
        {PRESETS.map(([name, preset]) => (
          <button
            type="button"
            key={name}
            aria-pressed={preset.from === range.from && preset.to === range.to}
            onClick={() => onChange(preset)}
          >
            {name}
          </button>
        ))}
        {onShowAll && (
          <button type="button" title="From the first profile to the last" onClick={onShowAll}>
            All
          </button>
        )}
      </div>
      <TimeInput label="From" value={range.from} onChange={(from) => onChange({ ...range, from })} />
      <TimeInput label="To" value={range.to} onChange={(to) => onChange({ ...range, to })} />
      <button type="button" onClick={onReload}>
        Reload
      </button>
      {onLive && (
        <button
          type="button"
          aria-pressed={live}
          disabled={range.to !== "now"}
          title={range.to === "now" ? "Reload every 30 seconds" : "Only a range that ends now is live"}
          onClick={() => onLive(!live)}
        >
          Live
        </button>
      )}
    </div>
  );
}

interface SelectionProps {
  name: string;
  selection: TimeRange | null;
  range: TimeRange;
  onChange: (selection: TimeRange | null) => void;
  onZoom?: () => void;
}

// The selected part of the range. Dragging on the timeline selects one, too.
export function SelectionPicker({ name, selection, range, onChange, onZoom }: SelectionProps) {
  return (
    <div class="selection" role="group" aria-label={name}>
      {selection ? (
        <>
          <span class="caption">{name}</span>
          <TimeInput label="from" value={selection.from} onChange={(from) => onChange({ ...selection, from })} />
          <TimeInput label="to" value={selection.to} onChange={(to) => onChange({ ...selection, to })} />
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
          <button
            type="button"
            class="small"
            aria-label={`Select a range: ${name}`}
            onClick={() => onChange(range)}
          >
            Select a range
          </button>
          <span class="note">or drag on the timeline</span>
        </>
      )}
    </div>
  );
}

interface TimeInputProps {
  label: string;
  value: string;
  onChange: (value: string) => void;
}

// A text field for a time. Enter and leaving it apply the text, Escape restores the value.
function TimeInput({ label, value, onChange }: TimeInputProps) {
  const zone = useContext(ZoneContext);
  const shown = toInput(value, zone);
  const [text, setText] = useStateOf(shown, shown);
  const apply = (): void => {
    const time = text.trim();
    if (!time) setText(shown);
    else if (time !== shown) onChange(fromInput(time, zone));
  };
  return (
    <label class="time">
      {label}
      <input
        aria-label={label}
        value={text}
        size={19}
        spellcheck={false}
        title={`2006-01-02T15:04:05 (${zone}), RFC 3339, unix seconds, now, now-1h`}
        onInput={(event) => setText(event.currentTarget.value)}
        onBlur={apply}
        onKeyDown={(event) => {
          if (event.key === "Enter") apply();
          if (event.key === "Escape") setText(shown);
        }}
      />
    </label>
  );
}
