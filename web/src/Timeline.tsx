import { useRef, useState } from "preact/hooks";
import type { Series } from "./api";
import { useSize } from "./hooks";
import { plain } from "./names";
import type { Span } from "./state";
import { isoSecond, secondsOf, shownTick, tickStep } from "./times";
import { shownValue } from "./units";

export const LINES = ["#2f6fde", "#c2571a", "#23855b", "#a23fb0", "#b08a00", "#0f8aa0", "#c43b5e", "#6b6f78"];

interface Band {
  span: Span | null;
  name: string;
  kind: "now" | "base";
}

interface Props {
  series: Series;
  sample: string;
  bands: Band[];
  onDrag: (span: Span) => void;
}

const LEFT = 64;
const BOTTOM = 18;
const TOP = 6;
const MOST = LINES.length;

export function Timeline({ series, sample, bands, onDrag }: Props) {
  const box = useRef<HTMLDivElement>(null);
  const { width, height } = useSize(box);
  const [drag, setDrag] = useState<[number, number] | null>(null);
  const [hover, setHover] = useState<number | null>(null);
  const kind = Math.max(
    0,
    series.sample_types.findIndex((one) => one.type === sample),
  );
  const unit = series.sample_types[kind]?.unit ?? "count";
  const counted = !series.sample_types.length; // of what has no totals, the number of profiles
  const groups = series.groups.slice(0, MOST).map((group) => ({
    name: group.others
      ? `${group.others} others`
      : group.labels.map(({ value }) => plain(value) || "(none)").join(", "),
    values: counted ? group.profiles : group.values[kind]!,
  }));
  const steps = series.groups[0]?.profiles.length ?? 0;
  const begin = secondsOf(series.start);
  const most = Math.max(1, ...groups.map((group) => Math.max(...group.values)));
  const inner = Math.max(1, width - LEFT - 8);
  const floor = height - BOTTOM;
  const slot = inner / Math.max(1, steps);
  const x = (step: number): number => LEFT + step * slot;
  const y = (value: number): number => floor - (Math.max(0, value) / most) * (floor - TOP);
  const stepOf = (event: PointerEvent): number => {
    const offset = event.clientX - box.current!.getBoundingClientRect().left - LEFT;
    return Math.min(steps - 1, Math.max(0, Math.floor(offset / slot)));
  };
  const spanOf = ([a, b]: [number, number]): Span => ({
    from: isoSecond(begin + Math.min(a, b) * series.step),
    to: isoSecond(begin + (Math.max(a, b) + 1) * series.step - 1),
  });
  const band = (one: Band) => {
    if (!one.span) return null;
    const from = (secondsOf(one.span.from) - begin) / series.step;
    const to = (secondsOf(one.span.to) + 1 - begin) / series.step;
    if (Number.isNaN(from) || Number.isNaN(to) || to < 0 || from > steps) return null;
    const left = Math.max(LEFT, x(from));
    const right = Math.min(LEFT + inner, x(to));
    return (
      <g key={one.kind} class={`band ${one.kind}`}>
        <rect x={left} y={TOP} width={Math.max(1, right - left)} height={floor - TOP} />
        <text x={left + 4} y={TOP + 11}>
          {one.name}
        </text>
      </g>
    );
  };
  const tick = tickStep(steps * series.step, inner / 90);
  const ticks: number[] = [];
  for (let at = Math.ceil(begin / tick) * tick; at < begin + steps * series.step; at += tick) ticks.push(at);
  return (
    <div class="timeline">
      <div
        class="plot"
        ref={box}
        onPointerDown={(event) => {
          if (event.button) return;
          box.current!.setPointerCapture(event.pointerId);
          setDrag([stepOf(event), stepOf(event)]);
        }}
        onPointerMove={(event) => {
          setHover(stepOf(event));
          if (drag) setDrag([drag[0], stepOf(event)]);
        }}
        onPointerUp={() => {
          if (drag) onDrag(spanOf(drag));
          setDrag(null);
        }}
        onPointerCancel={() => setDrag(null)}
        onPointerLeave={() => setHover(null)}
      >
        {width > 0 && (
          <svg
            width={width}
            height={height}
            role="img"
            aria-label={spoken(groups, steps, begin, series.step, unit)}
          >
            {[0, 0.5, 1].map((part) => (
              <g key={part} class="grid">
                <line x1={LEFT} x2={LEFT + inner} y1={y(most * part)} y2={y(most * part)} />
                <text x={LEFT - 6} y={y(most * part) + (part === 1 ? 8 : 3)} text-anchor="end">
                  {shownValue(counted ? Math.round(most * part) : most * part, counted ? "count" : unit)}
                </text>
              </g>
            ))}
            {ticks.map((at) => (
              <g key={at} class="grid">
                <line
                  x1={x((at - begin) / series.step)}
                  x2={x((at - begin) / series.step)}
                  y1={floor}
                  y2={floor + 4}
                />
                <text x={x((at - begin) / series.step) + 3} y={height - 4}>
                  {shownTick(at, tick)}
                </text>
              </g>
            ))}
            {bands.map(band)}
            {groups.length === 1
              ? groups[0]!.values.map((value, i) =>
                  value > 0 ? (
                    <rect
                      key={i}
                      class="column"
                      x={x(i)}
                      width={Math.max(1, slot - 1)}
                      y={y(value)}
                      height={floor - y(value)}
                    />
                  ) : null,
                )
              : groups.map((group, i) => (
                  <path key={group.name} class="line" stroke={LINES[i]} d={path(group.values, x, y, slot)} />
                ))}
            {drag && (
              <rect
                class="drag"
                x={x(Math.min(...drag))}
                width={(Math.abs(drag[1] - drag[0]) + 1) * slot}
                y={TOP}
                height={floor - TOP}
              />
            )}
            {hover !== null && <line class="hover" x1={x(hover + 0.5)} x2={x(hover + 0.5)} y1={TOP} y2={floor} />}
          </svg>
        )}
        {hover !== null && hover < steps && (
          <div
            class="tip"
            style={
              x(hover) < width / 2 ? { left: `${x(hover + 1) + 8}px` } : { right: `${width - x(hover) + 8}px` }
            }
          >
            <div class="where">{shownTime(begin + hover * series.step, series.step)}</div>
            {groups.map((group, i) => (
              <div key={group.name} class="numbers">
                {groups.length > 1 && <i class="dot" style={{ background: LINES[i] }} />}
                {group.name && <span>{group.name}</span>}
                <b>{counted ? `${group.values[hover]!} profiles` : shownValue(group.values[hover]!, unit)}</b>
              </div>
            ))}
          </div>
        )}
      </div>
      {groups.length > 1 && (
        <ul class="legend" aria-label="Groups">
          {groups.map((group, i) => (
            <li key={group.name}>
              <i class="dot" style={{ background: LINES[i] }} />
              <span dir="auto">{group.name}</span>
            </li>
          ))}
          {series.groups.length > MOST && <li>and {series.groups.length - MOST} more</li>}
        </ul>
      )}
    </div>
  );
}

// Points where there is something, joined where steps follow each other.
function path(values: number[], x: (step: number) => number, y: (value: number) => number, slot: number): string {
  return values
    .map((value, i) => {
      const at = `${x(i + 0.5).toFixed(1)} ${y(value).toFixed(1)}`;
      const alone = !values[i - 1] && !values[i + 1] && value > 0;
      if (alone)
        return `M${(x(i + 0.5) - slot / 3).toFixed(1)} ${y(value).toFixed(1)}h${((slot * 2) / 3).toFixed(1)}`;
      if (!value && !values[i - 1] && !values[i + 1]) return "";
      return `${i && (value || values[i - 1]) ? "L" : "M"}${at}`;
    })
    .join("")
    .replace(/^L/, "M")
    .replace(/(h[\d.]+)L/g, "$1M");
}

function shownTime(seconds: number, step: number): string {
  const from = isoSecond(seconds).replace("T", " ");
  return step === 1 ? `${from} UTC` : `${from} to ${isoSecond(seconds + step).slice(11)} UTC`;
}

function spoken(
  groups: { name: string; values: number[] }[],
  steps: number,
  begin: number,
  step: number,
  unit: string,
): string {
  const sums = groups.map(
    ({ name, values }) =>
      `${name ? `${name}: ` : ""}${shownValue(
        values.reduce((a, b) => a + b, 0),
        unit,
      )} in all`,
  );
  return `Timeline from ${isoSecond(begin)} to ${isoSecond(begin + steps * step)} UTC. ${sums.join("; ")}`;
}
