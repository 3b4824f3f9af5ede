import { useContext, useRef, useState } from "preact/hooks";
import type { Series } from "./api";
import { useSize } from "./hooks";
import { shortenValue } from "./names";
import type { TimeRange } from "./state";
import { linesOf, TimelineChart, type Line, type Marker } from "./timelineChart";
import { formatSecond, formatTick } from "./times";
import { formatValue } from "./units";
import { formatClock, ZoneContext, zoneName, zoneOffset, type Zone } from "./zone";

const LINE_COLORS = ["#2f6fde", "#c2571a", "#23855b", "#a23fb0", "#b08a00", "#0f8aa0", "#c43b5e", "#6b6f78"];
const TICK_TEXT_WIDTH = 36; // pixels, of most texts
const MAX_MARKER_LENGTH = 16; // characters
const TOOLTIP_DISTANCE = 8; // pixels
const MAX_LINES = LINE_COLORS.length;

interface Band {
  side: "comparison" | "base";
  range: TimeRange | null;
  name: string;
}

interface Props {
  series: Series;
  sampleType: string;
  bands: Band[];
  markers: Marker[];
  onDrag: (range: TimeRange) => void;
}

// The values over time, one line per group. Dragging selects a time range.
export function Timeline({ series, sampleType, bands, markers, onDrag }: Props) {
  const zone = useContext(ZoneContext);
  const plot = useRef<HTMLDivElement>(null);
  const { width, height } = useSize(plot);
  const [drag, setDrag] = useState<[number, number] | null>(null); // steps
  const [hovered, setHovered] = useState<number | null>(null); // a step
  const sampleTypeIndex = Math.max(
    0,
    series.sample_types.findIndex(({ type }) => type === sampleType),
  );
  const countsProfiles = !series.sample_types.length;
  const unit = countsProfiles ? "count" : series.sample_types[sampleTypeIndex]!.unit;
  const aggregate = series.aggregates[sampleTypeIndex] ?? "sum";
  const lines = linesOf(series, sampleTypeIndex, MAX_LINES);
  const chart = new TimelineChart(series, lines, width, height, unit);
  const stepOf = (event: PointerEvent): number =>
    chart.stepAt(event.clientX - plot.current!.getBoundingClientRect().left);
  return (
    <div class="timeline">
      <div
        class="plot"
        ref={plot}
        onPointerDown={(event) => {
          if (event.button) return;
          plot.current!.setPointerCapture(event.pointerId);
          setDrag([stepOf(event), stepOf(event)]);
        }}
        onPointerMove={(event) => {
          setHovered(stepOf(event));
          if (drag) setDrag([drag[0], stepOf(event)]);
        }}
        onPointerUp={() => {
          if (drag) onDrag(chart.rangeOf(...drag));
          setDrag(null);
        }}
        onPointerCancel={() => setDrag(null)}
        onPointerLeave={() => setHovered(null)}
      >
        {width > 0 && (
          <svg
            width={width}
            height={height}
            role="img"
            aria-label={describeTimeline(lines, chart, unit, aggregate)}
          >
            <ValueAxis chart={chart} format={(value) => formatValue(value, unit)} />
            <TimeAxis chart={chart} />
            {bands.map((band) => (
              <TimeBand key={band.side} band={band} chart={chart} />
            ))}
            {lines.length === 1 ? (
              <Columns values={lines[0]!.values} chart={chart} />
            ) : (
              <Lines lines={lines} chart={chart} />
            )}
            {aggregate !== "sum" && (
              <text class="caption" x={chart.right} y={chart.top + 11} text-anchor="end">
                {aggregate} per step
              </text>
            )}
            {markers.map((marker) => (
              <g key={marker.name} class="marker">
                <title>first profile of version {marker.name}</title>
                <line x1={chart.x(marker.step)} x2={chart.x(marker.step)} y1={chart.top} y2={chart.bottom} />
                <text x={chart.x(marker.step) + 3} y={chart.top + 9}>
                  {marker.name.slice(0, MAX_MARKER_LENGTH)}
                </text>
              </g>
            ))}
            {drag && (
              <rect
                class="drag"
                x={chart.x(Math.min(...drag))}
                width={(Math.abs(drag[1] - drag[0]) + 1) * chart.stepWidth}
                y={chart.top}
                height={chart.bottom - chart.top}
              />
            )}
            {hovered !== null && (
              <line
                class="hover"
                x1={chart.x(hovered + 0.5)}
                x2={chart.x(hovered + 0.5)}
                y1={chart.top}
                y2={chart.bottom}
              />
            )}
          </svg>
        )}
        {hovered !== null && hovered < chart.steps && (
          <div class="tooltip" style={placeTooltip(hovered, chart)}>
            <div class="source">{formatStep(hovered, chart, zone)}</div>
            {lines.map((line, i) => (
              <div key={i} class="numbers">
                {lines.length > 1 && <Dot line={i} />}
                {line.name && (
                  <span class="group-name" dir="auto">
                    {shortenValue(line.name)}
                  </span>
                )}
                <b>{describeValue(line.values[hovered]!, unit, countsProfiles)}</b>
              </div>
            ))}
          </div>
        )}
      </div>
      {lines.length > 1 && (
        <ul class="legend" aria-label="Groups">
          {lines.map((line, i) => (
            <li key={i}>
              <Dot line={i} />
              <span class="group-name" dir="auto" title={line.name}>
                {shortenValue(line.name)}
              </span>
            </li>
          ))}
        </ul>
      )}
    </div>
  );
}

function Dot({ line }: { line: number }) {
  return <i class="dot" style={{ background: LINE_COLORS[line] }} />;
}

function ValueAxis({ chart, format }: { chart: TimelineChart; format: (value: number) => string }) {
  return (
    <>
      {chart.valueTicks.map((value) => {
        const y = chart.y(value);
        return (
          <g key={value} class="grid">
            <line x1={chart.left} x2={chart.right} y1={y} y2={y} />
            <text x={chart.left - 6} y={y + (value === chart.maxValue ? 8 : 3)} text-anchor="end">
              {format(value)}
            </text>
          </g>
        );
      })}
    </>
  );
}

function TimeAxis({ chart }: { chart: TimelineChart }) {
  const zone = useContext(ZoneContext);
  const offset = zoneOffset(chart.start, zone);
  const { step, seconds } = chart.ticks(offset);
  return (
    <>
      <text class="zone" x={chart.left - 6} y={chart.height - 4} text-anchor="end">
        {zoneName(chart.start, zone)}
      </text>
      {seconds.map((tick) => {
        const x = chart.x((tick - chart.start) / chart.step);
        return (
          <g key={tick} class="grid">
            <line x1={x} x2={x} y1={chart.bottom} y2={chart.bottom + 4} />
            {x + TICK_TEXT_WIDTH < chart.right && (
              <text x={x + 3} y={chart.height - 4}>
                {formatTick(tick + offset, step)}
              </text>
            )}
          </g>
        );
      })}
    </>
  );
}

function TimeBand({ band, chart }: { band: Band; chart: TimelineChart }) {
  const position = band.range && chart.bandOf(band.range);
  if (!position) return null;
  return (
    <g class={`band ${band.side}`}>
      <rect x={position.x} y={chart.top} width={position.width} height={chart.bottom - chart.top} />
      <text x={position.x + 4} y={chart.top + 11}>
        {band.name}
      </text>
    </g>
  );
}

function Columns({ values, chart }: { values: Line["values"]; chart: TimelineChart }) {
  return (
    <>
      {values.map((value, step) =>
        value !== null && value > 0 ? (
          <rect
            key={step}
            class="column"
            x={chart.x(step)}
            width={Math.max(1, chart.stepWidth - 1)}
            y={chart.y(value)}
            height={chart.bottom - chart.y(value)}
          />
        ) : null,
      )}
    </>
  );
}

function Lines({ lines, chart }: { lines: Line[]; chart: TimelineChart }) {
  return (
    <>
      {lines.map((line, i) => (
        <path key={i} class="line" stroke={LINE_COLORS[i]} d={chart.pathOf(line.values)} />
      ))}
    </>
  );
}

// Returns the place of the tooltip of a step: on the side that has more room, and no wider than that.
function placeTooltip(step: number, chart: TimelineChart): Record<string, string> {
  const [before, after] = [chart.x(step) - TOOLTIP_DISTANCE, chart.x(step + 1) + TOOLTIP_DISTANCE];
  if (after < chart.width / 2) return { left: `${after}px`, maxWidth: `min(560px, ${chart.width - after}px)` };
  return { right: `${chart.width - before}px`, maxWidth: `min(560px, ${before}px)` };
}

function describeValue(value: number | null, unit: string, countsProfiles: boolean): string {
  if (value === null) return "no profiles";
  return countsProfiles ? `${value} profiles` : formatValue(value, unit);
}

function formatStep(step: number, chart: TimelineChart, zone: Zone): string {
  const start = chart.secondsAt(step);
  const from = formatClock(start, zone).replace("T", " ");
  const to = chart.step === 1 ? "" : ` to ${formatClock(chart.secondsAt(step + 1), zone).slice(11)}`;
  return `${from}${to} ${zoneName(start, zone)}`;
}

// Describes the timeline for screen readers.
function describeTimeline(lines: Line[], chart: TimelineChart, unit: string, aggregate: string): string {
  const addsUp = aggregate === "sum" || aggregate === "increase";
  const totals = lines.map(({ name, values }) => {
    const numbers = values.map((value) => value ?? 0);
    const total = addsUp ? numbers.reduce((a, b) => a + b, 0) : Math.max(0, ...numbers);
    return `${name ? `${name}: ` : ""}${formatValue(total, unit)} ${addsUp ? "in total" : "at most"}`;
  });
  const [start, end] = [0, chart.steps].map((step) => formatSecond(chart.secondsAt(step)));
  return `Timeline from ${start} to ${end} UTC. ${totals.join("; ")}`;
}
