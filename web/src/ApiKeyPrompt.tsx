import { useEffect, useRef, useState } from "preact/hooks";
import { key } from "./api";

// Asked once; the key stays in this tab until it is closed, and is sent as a header only.
export function KeyPrompt({ onKey }: { onKey: () => void }) {
  const dialog = useRef<HTMLDialogElement>(null);
  const [text, setText] = useState("");
  useEffect(() => dialog.current?.showModal(), []);
  return (
    <dialog ref={dialog} aria-labelledby="key-title" onCancel={(event) => event.preventDefault()}>
      <form
        onSubmit={(event) => {
          event.preventDefault();
          if (!text.trim()) return;
          key.set(text.trim());
          onKey();
        }}
      >
        <h2 id="key-title">This collector asks for a key</h2>
        {key.get() && <p role="alert">The key that was given is not known here, or not any more.</p>}
        <label>
          <span>
            Key with the scope <code>read</code>
          </span>
          <input
            type="password"
            autocomplete="off"
            autoFocus
            value={text}
            onInput={(event) => setText(event.currentTarget.value)}
          />
        </label>
        <p class="note">It stays in this tab until the tab is closed, and is never part of a link.</p>
        <button type="submit" class="primary">
          Look
        </button>
      </form>
    </dialog>
  );
}
