import { sanitize } from "./names";

interface Props {
  label: string;
  value: string;
  options: string[];
  names?: Record<string, string>; // of options, if not the options themselves
  emptyName?: string; // what the empty option is called
  onChange: (value: string) => void;
}

// A labeled drop-down list. A value that is not among the options is shown, too.
export function Select({ label, value, options, names = {}, emptyName = "choose…", onChange }: Props) {
  const all = options.includes(value) ? options : [value, ...options];
  return (
    <label class="labeled">
      {label}
      <select aria-label={label} value={value} onChange={(event) => onChange(event.currentTarget.value)}>
        {all.map((option) => (
          <option key={option} value={option}>
            {names[option] ?? (sanitize(option) || emptyName)}
          </option>
        ))}
      </select>
    </label>
  );
}
