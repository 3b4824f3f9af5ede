import type { ComponentChildren } from "preact";
import type { Theme } from "./hooks";
import { Select } from "./Select";
import { zoneName, type Zone } from "./zone";

interface Props {
  picker: ComponentChildren; // what is shown
  share: ComponentChildren;
  onForgetKey: (() => void) | null; // null if there is no API key
  zone: Zone;
  onZone: (zone: Zone) => void;
  theme: Theme;
  onTheme: (theme: Theme) => void;
}

// The row at the top of the page.
export function Header({ picker, share, onForgetKey, zone, onZone, theme, onTheme }: Props) {
  return (
    <header>
      <a class="brand" href="?">
        <Logo />
        profbucket
      </a>
      {picker}
      <span class="spacer" />
      {share}
      {onForgetKey && (
        <button type="button" onClick={onForgetKey}>
          Forget API key
        </button>
      )}
      <Select
        label="Times"
        value={zone}
        options={["UTC", "local"]}
        names={{ local: `local (${zoneName(Date.now() / 1000, "local")})` }}
        onChange={(chosen) => onZone(chosen as Zone)}
      />
      <Select
        label="Theme"
        value={theme}
        options={["auto", "light", "dark"]}
        onChange={(chosen) => onTheme(chosen as Theme)}
      />
    </header>
  );
}

function Logo() {
  return (
    <svg width="18" height="18" viewBox="0 0 18 18" aria-hidden="true">
      <rect x="1" y="2" width="16" height="4" rx="1" fill="var(--accent)" />
      <rect x="1" y="7" width="11" height="4" rx="1" fill="var(--accent)" opacity=".75" />
      <rect x="1" y="12" width="6" height="4" rx="1" fill="var(--accent)" opacity=".5" />
    </svg>
  );
}
