import { plain } from "./names";

interface PickProps {
  label: string;
  value: string;
  options: string[];
  onChange: (value: string) => void;
}

// One of some options.
export function Pick({ label, value, options, onChange }: PickProps) {
  const all = options.includes(value) ? options : [value, ...options];
  return (
    <label class="pick">
      {label}
      <select aria-label={label} value={value} onChange={(event) => onChange(event.currentTarget.value)}>
        {all.map((one) => (
          <option key={one} value={one}>
            {plain(one) || (label === "Group by" ? "none" : "choose…")}
          </option>
        ))}
      </select>
    </label>
  );
}
