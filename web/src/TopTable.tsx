import { useMemo, useRef, useState } from "preact/hooks";
import { describeFunction, differenceOf, formatDifference, type ValueContext } from "./frames";
import { FunctionName, useNameLength } from "./FunctionName";
import { useStateOf } from "./hooks";
import { displayName } from "./names";
import { formatPercent, formatValue, fraction } from "./units";

interface Props {
  context: ValueContext;
  matches: Uint8Array | null;
  zoomedName: string; // of the frame that the functions are within; empty for all
  selected: string;
  colorBlindSafe: boolean;
  onSelect: (functionName: string) => void;
  onFocus: (functionName: string) => void;
}

interface Column {
  id: string;
  title: string;
  hint: string;
  sortKey: (fn: number) => number;
  text: (fn: number) => string;
  percent?: (fn: number) => string; // next to the text
  bar?: (fn: number) => number; // its length, from -1 to 1
}

const PAGE_ROWS = 100;
const MORE_ROWS = 1000;

// The functions by self value or, in a diff, by change.
export function TopTable({ context, zoomedName, matches, selected, colorBlindSafe, onSelect, onFocus }: Props) {
  const { functions, totals } = context;
  const diff = totals.length > 1;
  const columns = useMemo(() => (diff ? diffColumns(context) : valueColumns(context)), [context, diff]);
  const [chosenSort, setSort] = useState({ id: "", ascending: false });
  const nameColumn = useRef<HTMLTableCellElement>(null);
  const nameLength = useNameLength(nameColumn);
  const shown = useMemo(() => ({ context, matches }), [context, matches]);
  const [rowCount, setRowCount] = useStateOf(shown, PAGE_ROWS);
  const sorted = columns.find(({ id }) => id === chosenSort.id);
  const sort = sorted || chosenSort.id === "name" ? chosenSort : { id: columns[0]!.id, ascending: false };

  const rows = useMemo(() => {
    const byName = (a: number, b: number): number => (functions.name[a]! < functions.name[b]! ? -1 : 1);
    const column = columns.find(({ id }) => id === sort.id);
    const byValue = (a: number, b: number): number => (column ? column.sortKey(a) - column.sortKey(b) : 0);
    const direction = sort.ascending ? 1 : -1;
    return functions.name
      .map((_, fn) => fn)
      .filter((fn) => !matches || matches[fn])
      .filter((fn) => !zoomedName || functions.cum.some((values) => values[fn]))
      .sort((a, b) => (column ? direction * byValue(a, b) || byName(a, b) : direction * byName(a, b)));
  }, [functions, zoomedName, matches, columns, sort.id, sort.ascending]);

  const header = (id: string, title: string, hint: string) => {
    const order = sort.id === id ? (sort.ascending ? "ascending" : "descending") : "none";
    return (
      <th key={id} ref={id === "name" ? nameColumn : null} scope="col" class={id} aria-sort={order}>
        <button
          type="button"
          title={hint}
          onClick={() => setSort({ id, ascending: sort.id === id ? !sort.ascending : id === "name" })}
        >
          {title}
          <span class="arrow" aria-hidden="true">
            {{ ascending: "▴", descending: "▾", none: "" }[order]}
          </span>
        </button>
      </th>
    );
  };
  return (
    <div
      class={colorBlindSafe ? "table color-blind-safe" : "table"}
      tabIndex={0}
      role="region"
      aria-label={diff ? "Largest changes" : "Top functions"}
    >
      {zoomedName && (
        <p class="note within">
          Within <bdi>{zoomedName}</bdi>, without frames too small for the graph
        </p>
      )}
      <table>
        <thead>
          <tr>
            {columns.map(({ id, title, hint }) => header(id, title, hint))}
            {header("name", "Function", "Sort by name")}
          </tr>
        </thead>
        <tbody>
          {rows.slice(0, rowCount).map((fn) => {
            const name = functions.name[fn]!;
            return (
              <tr key={fn} class={displayName(name) === selected ? "selected" : ""}>
                {columns.map((column) => (
                  <td key={column.id} class={column.id}>
                    {column.bar && <Bar length={column.bar(fn)} />}
                    <span class="value">{column.text(fn)} </span>
                    {column.percent && <span class="percent">{column.percent(fn)}</span>}
                  </td>
                ))}
                <td class="name" title={describeFunction(fn, functions)}>
                  <FunctionName
                    name={name}
                    length={nameLength}
                    onClick={() => onSelect(displayName(name) === selected ? "" : name)}
                  />
                  <button
                    type="button"
                    class="icon"
                    title="Callers and callees"
                    aria-label={`Callers and callees of ${displayName(name).slice(0, 100)}`}
                    onClick={() => onFocus(name)}
                  >
                    ⇅
                  </button>
                </td>
              </tr>
            );
          })}
        </tbody>
      </table>
      {!rows.length && (
        <p class="note">{matches ? "No function matches the search." : "The filters leave no sample."}</p>
      )}
      {rows.length > rowCount && (
        <button type="button" class="more" onClick={() => setRowCount(rowCount + MORE_ROWS)}>
          Show more ({rowCount} of {rows.length} shown)
        </button>
      )}
      {!matches && !zoomedName && functions.count > rows.length && (
        <p class="note">
          The {rows.length} largest of {functions.count} functions.
        </p>
      )}
    </div>
  );
}

function Bar({ length }: { length: number }) {
  const width = `${Math.min(100, Math.abs(length) * 100)}%`;
  return <i class={length < 0 ? "bar less" : "bar"} style={{ width }} aria-hidden="true" />;
}

function valueColumns({ functions, totals, sampleType }: ValueContext): Column[] {
  const column = (id: string, title: string, hint: string, values: number[]): Column => ({
    id,
    title,
    hint,
    sortKey: (fn) => values[fn]!,
    text: (fn) => formatValue(values[fn]!, sampleType.unit),
    percent: (fn) => formatPercent(fraction(values[fn]!, totals[0]!)),
    bar: (fn) => fraction(values[fn]!, totals[0]!),
  });
  return [
    column("self", "Self", "In the function itself (pprof: flat)", functions.flat[0]!),
    column("total", "Total", "In the function and its callees (pprof: cum)", functions.cum[0]!),
  ];
}

function diffColumns(context: ValueContext): Column[] {
  const { functions, totals, sampleType, absolute } = context;
  const unit = absolute ? "" : ", in percentage points";
  const change = (id: string, title: string, hint: string, bySide: number[][]): Column => {
    const valuesOf = (fn: number): number[] => bySide.map((values) => values[fn]!);
    const differences = functions.name.map((_, fn) => differenceOf(valuesOf(fn), context));
    const largest = differences.reduce((max, difference) => Math.max(max, Math.abs(difference)), 0);
    return {
      id,
      title,
      hint: hint + unit,
      sortKey: (fn) => Math.abs(differences[fn]!),
      text: (fn) => formatDifference(valuesOf(fn), context),
      bar: (fn) => fraction(differences[fn]!, largest),
    };
  };
  const self = (id: string, title: string, side: number): Column => {
    const values = functions.flat[side]!;
    const total = totals[side]!;
    return {
      id,
      title,
      hint: `Self value of the ${id}`,
      sortKey: (fn) => values[fn]!,
      text: (fn) =>
        absolute ? formatValue(values[fn]!, sampleType.unit) : formatPercent(fraction(values[fn]!, total)),
    };
  };
  return [
    change("self-change", "Δ self", "Change of the self value", functions.flat),
    change("total-change", "Δ total", "Change of the total value", functions.cum),
    self("base", "Base", 1),
    self("comparison", "Comparison", 0),
  ];
}
