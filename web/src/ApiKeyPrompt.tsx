import { useLayoutEffect, useRef, useState } from "preact/hooks";
import { apiKey } from "./apiKey";

// A dialog that asks for an API key and stores it.
export function ApiKeyPrompt({ onSubmit }: { onSubmit: () => void }) {
  const dialog = useRef<HTMLDialogElement>(null);
  const [text, setText] = useState("");
  useLayoutEffect(() => dialog.current?.showModal(), []);
  return (
    <dialog ref={dialog} aria-labelledby="api-key-title" onCancel={(event) => event.preventDefault()}>
      <form
        onSubmit={(event) => {
          event.preventDefault();
          if (!text.trim()) return;
          apiKey.set(text.trim());
          onSubmit();
        }}
      >
        <h2 id="api-key-title">This collector requires an API key</h2>
        {apiKey.get() && <p role="alert">The API key is unknown or was revoked. Enter another one.</p>}
        <label>
          <span>
            API key with the scope <code>read</code>
          </span>
          <input
            type="password"
            autocomplete="off"
            autoFocus
            value={text}
            onInput={(event) => setText(event.currentTarget.value)}
          />
        </label>
        <p class="note">The key is kept while a tab of this page is open. It is never part of a link.</p>
        <button type="submit" class="primary">
          Continue
        </button>
      </form>
    </dialog>
  );
}
