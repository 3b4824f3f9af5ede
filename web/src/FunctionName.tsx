import type { RefObject } from "preact";
import { fitName } from "./draw";
import { useSize } from "./hooks";
import { displayName } from "./names";

const CHARACTER_WIDTH = 7.3; // pixels, of monospaced fonts at 12 px
const RESERVED_WIDTH = 44; // pixels of a cell: its padding and a button

// Returns how many characters of a name fit into the cells of a column.
export function useNameLength(column: RefObject<HTMLElement | null>): number {
  const { width } = useSize(column);
  return width ? Math.max(8, Math.floor((width - RESERVED_WIDTH) / CHARACTER_WIDTH)) : Infinity;
}

interface Props {
  name: string; // as in the profile
  length: number; // characters that fit
  onClick: () => void;
}

// A function's name as a button, shortened from the left as in flame graphs. Style sheets cut the end.
export function FunctionName({ name, length, onClick }: Props) {
  const shown = displayName(name);
  return (
    <button type="button" class="link" dir="auto" aria-label={shown} onClick={onClick}>
      {fitName(shown, length)}
    </button>
  );
}
