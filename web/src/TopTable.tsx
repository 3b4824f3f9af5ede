import { useEffect, useMemo, useState } from "preact/hooks";
import { changeOf, place, shownChange, type Side } from "./frames";
import { plain } from "./names";
import { percent, share, shownValue } from "./units";

interface Props {
  side: Side;
  wanted: Uint8Array | null;
  chosen: string;
  onChoose: (name: string) => void;
  onFocus: (name: string) => void;
}

interface Column {
  id: string;
  title: string;
  hint: string;
  value: (fn: number) => number;
  shown: (fn: number) => string;
  part?: (fn: number) => string; // the share beside it
  bar?: (fn: number) => number; // how long, from -1 to 1
}

const PAGE = 100;

export function TopTable({ side, wanted, chosen, onChoose, onFocus }: Props) {
  const { functions } = side;
  const diff = side.totals.length > 1;
  const columns = useMemo(() => (diff ? changes(side) : values(side)), [side, diff]);
  const [sort, setSort] = useState<{ id: string; up: boolean } | null>(null);
  const [count, setCount] = useState(PAGE);
  const by =
    sort && (sort.id === "name" || columns.some((column) => column.id === sort.id))
      ? sort
      : { id: columns[0]!.id, up: false };
  useEffect(() => setCount(PAGE), [side, wanted]);

  const rows = useMemo(() => {
    const found: number[] = [];
    functions.name.forEach((_, fn) => (!wanted || wanted[fn]) && found.push(fn));
    const sign = by.up ? -1 : 1;
    const column = columns.find((one) => one.id === by.id);
    if (column) {
      const size = (fn: number): number =>
        diff && by.id.startsWith("d") ? Math.abs(column.value(fn)) : column.value(fn);
      found.sort((a, b) => sign * (size(b) - size(a)) || (functions.name[a]! < functions.name[b]! ? -1 : 1));
    } else found.sort((a, b) => -sign * (functions.name[a]! < functions.name[b]! ? -1 : 1));
    return found;
  }, [functions, wanted, columns, by.id, by.up, diff]);

  const head = (id: string, title: string, hint: string) => (
    <th key={id} scope="col" class={id} aria-sort={by.id === id ? (by.up ? "ascending" : "descending") : "none"}>
      <button
        type="button"
        title={hint}
        onClick={() => setSort({ id, up: by.id === id ? !by.up : id === "name" })}
      >
        {title}
        <span class="arrow" aria-hidden="true">
          {by.id === id ? (by.up ? "▴" : "▾") : ""}
        </span>
      </button>
    </th>
  );
  return (
    <div class="table" tabIndex={0} role="region" aria-label={diff ? "Largest changes" : "Top functions"}>
      <table>
        <thead>
          <tr>
            {columns.map((column) => head(column.id, column.title, column.hint))}
            {head("name", "Function", "By name")}
          </tr>
        </thead>
        <tbody>
          {rows.slice(0, count).map((fn) => {
            const name = functions.name[fn]!;
            return (
              <tr key={fn} class={name === chosen ? "chosen" : ""}>
                {columns.map((column) => (
                  <td key={column.id} class={column.id}>
                    {column.bar && <Bar part={column.bar(fn)} />}
                    <span class="value">{column.shown(fn)} </span>
                    {column.part && <span class="part">{column.part(fn)}</span>}
                  </td>
                ))}
                <td class="name" title={place(fn, functions)}>
                  <button
                    type="button"
                    class="link"
                    dir="auto"
                    onClick={() => onChoose(name === chosen ? "" : name)}
                  >
                    {plain(name)}
                  </button>
                  <button
                    type="button"
                    class="icon"
                    title="Callers and callees"
                    aria-label={`Callers and callees of ${plain(name).slice(0, 100)}`}
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
      {!rows.length && <p class="note">No function matches the search.</p>}
      {rows.length > count && (
        <button type="button" class="more" onClick={() => setCount(count + 10 * PAGE)}>
          Show more: {count} of {rows.length}
          {functions.count > functions.name.length && !wanted ? `, of ${functions.count} in all` : ""}
        </button>
      )}
    </div>
  );
}

function Bar({ part }: { part: number }) {
  const width = `${Math.min(100, Math.abs(part) * 100)}%`;
  return <i class={part < 0 ? "bar less" : "bar"} style={{ width }} aria-hidden="true" />;
}

function values(side: Side): Column[] {
  const { functions, totals, sample } = side;
  const column = (id: string, title: string, hint: string, of: number[]): Column => ({
    id,
    title,
    hint,
    value: (fn) => of[fn]!,
    shown: (fn) => shownValue(of[fn]!, sample.unit),
    part: (fn) => percent(share(of[fn]!, totals[0]!)),
    bar: (fn) => share(of[fn]!, totals[0]!),
  });
  return [
    column("flat", "Flat", "What it spent itself", functions.flat[0]!),
    column("cum", "Cum", "With all that it called", functions.cum[0]!),
  ];
}

function changes(side: Side): Column[] {
  const { functions, totals, sample } = side;
  const pair = (of: number[][], fn: number): [number, number] => [of[0]![fn]!, of[1]![fn]!];
  const shown = (value: number, total: number): string =>
    side.absolute ? shownValue(value, sample.unit) : percent(share(value, total));
  const change = (id: string, title: string, hint: string, of: number[][]): Column => {
    const all = of[0]!.map((_, fn) => changeOf(pair(of, fn), side));
    const most = all.reduce((a, b) => Math.max(a, Math.abs(b)), 0);
    return {
      id,
      title,
      hint,
      value: (fn) => all[fn]!,
      shown: (fn) => shownChange(pair(of, fn), side),
      bar: (fn) => share(all[fn]!, most),
    };
  };
  return [
    change(
      "dflat",
      "Δ flat",
      side.absolute ? "Change of what it spent itself" : "Change of its own share, in points",
      functions.flat,
    ),
    change(
      "dcum",
      "Δ cum",
      side.absolute ? "Change with all that it called" : "Change of its share with all that it called, in points",
      functions.cum,
    ),
    {
      id: "base",
      title: "Base",
      hint: "What it spent itself in the base",
      value: (fn) => functions.flat[1]![fn]!,
      shown: (fn) => shown(functions.flat[1]![fn]!, totals[1]!),
    },
    {
      id: "now",
      title: "Now",
      hint: "What it spends itself now",
      value: (fn) => functions.flat[0]![fn]!,
      shown: (fn) => shown(functions.flat[0]![fn]!, totals[0]!),
    },
  ];
}
