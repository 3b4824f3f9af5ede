import { useState } from "preact/hooks";
import { sanitize } from "./names";
import { refine, REFINEMENT_NAMES, REFINEMENTS, type RefinementName } from "./refinements";
import type { State, UpdateState } from "./state";
import { Tags } from "./Tags";

interface Props {
  state: State;
  update: UpdateState;
}

const MAX_LENGTH = 80;

// The refinements of the merge, which can be removed, edited and added, and the tags to choose from.
export function RefinementFilters({ state, update }: Props) {
  const [edited, setEdited] = useState<RefinementName | "new" | null>(null);
  const [showsTags, setShowsTags] = useState(false);
  const { refinements } = state;
  const apply = (changed: typeof refinements): void => {
    setEdited(null);
    update({ refinements: changed, zoom: "" });
  };
  const editor = (name: RefinementName) => (
    <RefinementEditor
      key={name}
      name={name}
      text={refinements[name] ?? ""}
      isNew={edited === "new"}
      onApply={(chosen, text) => apply(refine(refinements, chosen, text))}
      onCancel={() => setEdited(null)}
    />
  );
  return (
    <div class="refinements">
      <div class="filters" role="group" aria-label="Filters">
        <span class="caption">Filters</span>
        {REFINEMENT_NAMES.filter((name) => refinements[name]).map((name) => {
          if (edited === name) return editor(name);
          const text = `${name} ${sanitize(refinements[name]!)}`.slice(0, MAX_LENGTH);
          return (
            <span class="chip" key={name} title={REFINEMENTS[name]}>
              <button type="button" class="edit" dir="auto" onClick={() => setEdited(name)}>
                {text}
              </button>
              <button
                type="button"
                aria-label={`Remove ${text}`}
                onClick={() => apply(refine(refinements, name, ""))}
              >
                ×
              </button>
            </span>
          );
        })}
        {edited === "new" ? (
          editor(REFINEMENT_NAMES.find((name) => !refinements[name]) ?? "focus")
        ) : (
          <button type="button" class="small" onClick={() => setEdited("new")}>
            + filter
          </button>
        )}
        <button
          type="button"
          class="small"
          aria-expanded={showsTags}
          title="The labels of samples, such as goroutine labels"
          onClick={() => setShowsTags(!showsTags)}
        >
          Tags
        </button>
      </div>
      {showsTags && <Tags state={state} update={update} />}
    </div>
  );
}

interface EditorProps {
  name: RefinementName;
  text: string;
  isNew: boolean;
  onApply: (name: RefinementName, text: string) => void;
  onCancel: () => void;
}

function RefinementEditor({ name, text, isNew, onApply, onCancel }: EditorProps) {
  const [chosen, setChosen] = useState(name);
  const [value, setValue] = useState(text);
  return (
    <form
      class="editor"
      onSubmit={(event) => {
        event.preventDefault();
        onApply(chosen, value.trim());
      }}
      onKeyDown={(event) => event.key === "Escape" && onCancel()}
    >
      <select
        aria-label="Filter"
        value={chosen}
        disabled={!isNew}
        title={REFINEMENTS[chosen]}
        onChange={(event) => setChosen(event.currentTarget.value as RefinementName)}
      >
        {REFINEMENT_NAMES.map((option) => (
          <option key={option}>{option}</option>
        ))}
      </select>
      <input
        aria-label="Pattern"
        value={value}
        size={24}
        autoFocus
        required
        spellcheck={false}
        placeholder={chosen === "tagroot" || chosen === "tagleaf" ? "key, key" : "regex"}
        onInput={(event) => setValue(event.currentTarget.value)}
      />
      <button type="submit" class="small">
        {isNew ? "Add" : "Apply"}
      </button>
      <button type="button" class="small" aria-label="Cancel" onClick={onCancel}>
        ×
      </button>
    </form>
  );
}
