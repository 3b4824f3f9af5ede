import { useId, useState } from "preact/hooks";
import type { Choices } from "./api";
import { OPERATORS, shownMatcher, type Matcher, type Operator } from "./labels";
import { plain } from "./names";

interface Props {
  title: string;
  kind?: "now" | "base";
  matchers: Matcher[];
  choices: Choices | null;
  onChange: (matchers: Matcher[]) => void;
}

export function Filters({ title, kind, matchers, choices, onChange }: Props) {
  const [open, setOpen] = useState(false);
  return (
    <div class={`filters ${kind ?? ""}`} role="group" aria-label={title}>
      <span class="caption">{title}</span>
      {matchers.map((matcher, i) => (
        <span class="chip" key={i}>
          <span dir="auto">{plain(shownMatcher(matcher)).slice(0, 60)}</span>
          <button
            type="button"
            aria-label={`Remove ${plain(shownMatcher(matcher)).slice(0, 60)}`}
            onClick={() => onChange(matchers.filter((_, j) => j !== i))}
          >
            ×
          </button>
        </span>
      ))}
      {!matchers.length && !open && <span class="note">all</span>}
      {open ? (
        <Editor
          choices={choices}
          onDone={(matcher) => {
            setOpen(false);
            if (matcher) onChange([...matchers, matcher]);
          }}
        />
      ) : (
        <button type="button" class="small" aria-label={`+ label: ${title}`} onClick={() => setOpen(true)}>
          + label
        </button>
      )}
    </div>
  );
}

function Editor({ choices, onDone }: { choices: Choices | null; onDone: (matcher: Matcher | null) => void }) {
  const id = useId();
  const known = choices?.labels ?? [];
  const [key, setKey] = useState(known[0]?.key ?? "");
  const [op, setOp] = useState<Operator>("=");
  const [value, setValue] = useState("");
  const values = known.find((one) => one.key === key)?.values ?? [];
  return (
    <form
      class="editor"
      onSubmit={(event) => {
        event.preventDefault();
        onDone(key ? { key, op, value } : null);
      }}
      onKeyDown={(event) => event.key === "Escape" && onDone(null)}
    >
      <input
        aria-label="Label"
        list={`${id}-keys`}
        value={key}
        size={10}
        autoFocus
        onInput={(event) => {
          setKey(event.currentTarget.value);
          setValue("");
        }}
      />
      <datalist id={`${id}-keys`}>
        {known.map((one) => (
          <option key={one.key} value={one.key} />
        ))}
      </datalist>
      <select aria-label="Condition" value={op} onChange={(event) => setOp(event.currentTarget.value as Operator)}>
        {OPERATORS.map((one) => (
          <option key={one}>{one}</option>
        ))}
      </select>
      <input
        aria-label="Value"
        list={`${id}-values`}
        value={value}
        size={14}
        onInput={(event) => setValue(event.currentTarget.value)}
      />
      <datalist id={`${id}-values`}>
        {values.map((one) => (
          <option key={one} value={one} />
        ))}
      </datalist>
      <button type="submit" class="small">
        Add
      </button>
      <button type="button" class="small" aria-label="Cancel" onClick={() => onDone(null)}>
        ×
      </button>
    </form>
  );
}
