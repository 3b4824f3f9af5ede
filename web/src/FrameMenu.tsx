import { useLayoutEffect, useRef, useState } from "preact/hooks";

export interface FrameAction {
  label: string;
  hint?: string;
  run: () => void;
}

interface Props {
  x: number; // of the pointer, in the window
  y: number;
  title: string;
  actions: FrameAction[];
  onClose: () => void;
}

const MARGIN = 8; // pixels to the edges of the window

// A menu at the pointer. Arrow keys move in it; Escape, a choice and leaving it close it.
export function FrameMenu({ x, y, title, actions, onClose }: Props) {
  const menu = useRef<HTMLDivElement>(null);
  const [position, setPosition] = useState({ left: x, top: y });
  useLayoutEffect(() => {
    const { width, height } = menu.current!.getBoundingClientRect();
    setPosition({
      left: Math.max(MARGIN, Math.min(x, innerWidth - width - MARGIN)),
      top: Math.max(MARGIN, Math.min(y, innerHeight - height - MARGIN)),
    });
  }, [x, y]);
  // A layout effect, because a key could be pressed before useEffect runs.
  useLayoutEffect(() => {
    const before = document.activeElement as HTMLElement | null;
    menu.current!.querySelector("button")!.focus();
    return () => before?.focus();
  }, []);
  const move = (step: number): void => {
    const items = [...menu.current!.querySelectorAll("button")];
    const next = items.indexOf(document.activeElement as HTMLButtonElement) + step;
    items[(next + items.length) % items.length]!.focus();
  };
  return (
    <div
      ref={menu}
      class="menu"
      role="menu"
      aria-label={title}
      style={{ left: `${position.left}px`, top: `${position.top}px` }}
      onKeyDown={(event) => {
        if (event.key === "Escape") onClose();
        else if (event.key === "ArrowDown") move(1);
        else if (event.key === "ArrowUp") move(-1);
        else return;
        event.preventDefault();
      }}
      onFocusOut={(event) => {
        // Closing the menu also takes the focus from it.
        if (menu.current && !menu.current.contains(event.relatedTarget as Node | null)) onClose();
      }}
    >
      <p class="name" dir="auto">
        {title}
      </p>
      {actions.map(({ label, hint, run }) => (
        <button
          type="button"
          role="menuitem"
          key={label}
          title={hint}
          onClick={() => {
            onClose();
            run();
          }}
        >
          {label}
        </button>
      ))}
    </div>
  );
}
