import { useId, useState } from "preact/hooks";
import type { ServiceDetails } from "./api";
import { displayMatcher, OPERATORS, type Matcher, type Operator } from "./labels";
import { sanitize, shortenValue } from "./names";

interface Props {
  title: string;
  matchers: Matcher[];
  details: ServiceDetails | null;
  onChange: (matchers: Matcher[]) => void;
}

const MAX_NAME_LENGTH = 60;

// The label matchers of one side, which can be removed and added.
export function LabelFilters({ title, matchers, details, onChange }: Props) {
  const [edited, setEdited] = useState<number | null>(null); // the index of a matcher; their number for a new one
  const apply = (changed: Matcher[]): void => {
    setEdited(null);
    onChange(changed);
  };
  return (
    <div class="filters" role="group" aria-label={title}>
      <span class="caption">{title}</span>
      {matchers.map((matcher, i) => {
        const name = shortenValue(sanitize(displayMatcher(matcher)), MAX_NAME_LENGTH);
        if (edited === i && details) {
          return (
            <MatcherEditor
              key={i}
              labels={details.labels}
              matcher={matcher}
              onApply={(changed) => apply(matchers.with(i, changed))}
              onCancel={() => setEdited(null)}
            />
          );
        }
        return (
          <span class="chip" key={i}>
            <button
              type="button"
              class="edit"
              dir="auto"
              title={`Edit ${name}`}
              disabled={!details}
              onClick={() => setEdited(i)}
            >
              {name}
            </button>
            <button
              type="button"
              aria-label={`Remove ${name}`}
              onClick={() => apply(matchers.filter((_, j) => j !== i))}
            >
              ×
            </button>
          </span>
        );
      })}
      {!matchers.length && edited === null && <span class="note">all</span>}
      {edited === matchers.length && details ? (
        <MatcherEditor
          labels={details.labels}
          matcher={null}
          onApply={(matcher) => apply([...matchers, matcher])}
          onCancel={() => setEdited(null)}
        />
      ) : (
        // Disabled until the labels are known, because the editor begins with the first one.
        <button
          type="button"
          class="small"
          aria-label={`+ label: ${title}`}
          disabled={!details}
          onClick={() => setEdited(matchers.length)}
        >
          + label
        </button>
      )}
    </div>
  );
}

interface EditorProps {
  labels: ServiceDetails["labels"];
  matcher: Matcher | null; // the one that is edited
  onApply: (matcher: Matcher) => void;
  onCancel: () => void;
}

function MatcherEditor({ labels, matcher, onApply, onCancel }: EditorProps) {
  const id = useId();
  const [key, setKey] = useState(matcher?.key ?? labels[0]?.key ?? "");
  const [op, setOp] = useState<Operator>(matcher?.op ?? "=");
  const [value, setValue] = useState(matcher?.value ?? "");
  const values = labels.find((label) => label.key === key)?.values ?? [];
  return (
    <form
      class="editor"
      onSubmit={(event) => {
        event.preventDefault();
        onApply({ key, op, value });
      }}
      onKeyDown={(event) => event.key === "Escape" && onCancel()}
    >
      <input
        aria-label="Label"
        list={`${id}-keys`}
        value={key}
        size={10}
        required
        autoFocus
        onInput={(event) => {
          setKey(event.currentTarget.value);
          setValue("");
        }}
      />
      <Suggestions id={`${id}-keys`} values={labels.map((label) => label.key)} />
      <select aria-label="Operator" value={op} onChange={(event) => setOp(event.currentTarget.value as Operator)}>
        {OPERATORS.map((operator) => (
          <option key={operator}>{operator}</option>
        ))}
      </select>
      <input
        aria-label="Value"
        list={`${id}-values`}
        value={value}
        size={14}
        placeholder="empty: without the label"
        onInput={(event) => setValue(event.currentTarget.value)}
      />
      <Suggestions id={`${id}-values`} values={values} />
      <button type="submit" class="small">
        {matcher ? "Apply" : "Add"}
      </button>
      <button type="button" class="small" aria-label="Cancel" onClick={onCancel}>
        ×
      </button>
    </form>
  );
}

function Suggestions({ id, values }: { id: string; values: string[] }) {
  return (
    <datalist id={id}>
      {values.map((value) => (
        <option key={value} value={value} />
      ))}
    </datalist>
  );
}
