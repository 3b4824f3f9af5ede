import { useRef } from "preact/hooks";
import type { Calls, FlameGraphData } from "./api";
import { describeFunction, formatDifference, type ValueContext } from "./frames";
import { FunctionName, useNameLength } from "./FunctionName";
import { displayName } from "./names";
import { formatPercent, formatValue, fraction } from "./units";

interface Props {
  peek: NonNullable<FlameGraphData["peek"]>;
  functionName: string; // as in the profile
  context: ValueContext;
  onPeek: (functionName: string) => void;
}

interface Row {
  name: string;
  title: string;
  values: number[]; // by side
}

const MAX_ROWS = 200; // of callers, and of callees

// Classes and titles of columns.
const COLUMNS = {
  value: [
    ["calls", "Calls"],
    ["part", "Percent"],
  ],
  diff: [
    ["change", "Δ calls"],
    ["base", "Base"],
    ["comparison", "Comparison"],
  ],
} as const;

// The direct callers and callees of a function with the values of their calls, as `go tool pprof -peek` lists them.
export function PeekTable({ peek, functionName, context, onPeek }: Props) {
  const { functions, totals, sampleType } = context;
  const diff = totals.length > 1;
  const nameColumn = useRef<HTMLTableCellElement>(null);
  const nameLength = useNameLength(nameColumn);
  const rowsOf = (calls: Calls): Row[] =>
    calls.function.map((fn, i) => ({
      name: functions.name[fn]!,
      title: describeFunction(fn, functions),
      values: calls.values.map((column) => column[i]!),
    }));
  // Functions without a name can have the name of one binary in common.
  const sumOf = (columns: number[][]): number[] =>
    columns.map((column) =>
      column.reduce((sum, value, fn) => sum + (functions.name[fn] === functionName ? value : 0), 0),
    );
  const [self, total] = [sumOf(functions.flat), sumOf(functions.cum)];
  const cells = (values: number[], whole: number[]) =>
    diff ? (
      <>
        <td>{formatDifference(values, context)}</td>
        {[1, 0].map((side) => (
          <td key={side} class={side ? "base" : "comparison"}>
            {context.absolute
              ? formatValue(values[side]!, sampleType.unit)
              : formatPercent(fraction(values[side]!, totals[side]!))}
          </td>
        ))}
      </>
    ) : (
      <>
        <td>{formatValue(values[0]!, sampleType.unit)}</td>
        <td>{formatPercent(fraction(values[0]!, whole[0]!))}</td>
      </>
    );
  const section = (title: string, rows: Row[]) => (
    <tbody>
      <tr>
        <th scope="rowgroup" colSpan={2} class="section">
          {title}
        </th>
      </tr>
      {rows.slice(0, MAX_ROWS).map(({ name, title, values }, i) => (
        <tr key={i}>
          {cells(values, total)}
          <td class="name" title={title}>
            <FunctionName name={name} length={nameLength} onClick={() => onPeek(name)} />
          </td>
        </tr>
      ))}
      {(!rows.length || rows.length > MAX_ROWS) && (
        <tr>
          <td colSpan={2} class="none">
            {rows.length ? `and ${rows.length - MAX_ROWS} more` : "none"}
          </td>
        </tr>
      )}
    </tbody>
  );
  return (
    <div class="table peek" tabIndex={0} role="region" aria-label="Callers and callees">
      <table>
        <thead>
          <tr>
            {COLUMNS[diff ? "diff" : "value"].map(([name, title]) => (
              <th key={name} scope="col" class={name}>
                {title}
              </th>
            ))}
            <th ref={nameColumn} scope="col" class="name">
              Function
            </th>
          </tr>
        </thead>
        {section("Callers", rowsOf(peek.callers))}
        <tbody>
          <tr>
            <th scope="rowgroup" colSpan={2} class="section">
              Function
            </th>
          </tr>
          <tr class="selected">
            {cells(total, totals)}
            <td class="name" title={displayName(functionName)}>
              <bdi>{displayName(functionName)}</bdi>
            </td>
          </tr>
          <tr>
            {cells(self, total)}
            <td class="name note">itself, without callees</td>
          </tr>
        </tbody>
        {section("Callees", rowsOf(peek.callees))}
      </table>
    </div>
  );
}
