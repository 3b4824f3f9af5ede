// Collapsed stacks: lines with the names of a stack's frames, joined by semicolons, and its value.

// Returns the stacks of both sides of a comparison with two values, the base's first, as difffolded.pl does.
export function joinCollapsed(base: string, comparison: string): string {
  const values = new Map<string, [string, string]>();
  [base, comparison].forEach((text, side) => {
    for (const line of text.split("\n")) {
      const end = line.lastIndexOf(" ");
      if (end < 0) continue;
      const stack = line.slice(0, end);
      const pair = values.get(stack) ?? ["0", "0"];
      pair[side] = line.slice(end + 1);
      values.set(stack, pair);
    }
  });
  return [...values.keys()]
    .sort()
    .map((stack) => `${stack} ${values.get(stack)!.join(" ")}\n`)
    .join("");
}
