// Conditions on labels, as the API writes them: key=value, key!=value, key=~regex, key!~regex, joined by commas.

export const OPERATORS = ["=", "!=", "=~", "!~"] as const;
export type Operator = (typeof OPERATORS)[number];

export interface Matcher {
  key: string;
  op: Operator;
  value: string;
}

export function formatMatchers(matchers: readonly Matcher[]): string {
  return matchers.map(({ key, op, value }) => quote(key) + op + quote(value)).join(",");
}

export function parseMatchers(text: string): Matcher[] {
  const found: Matcher[] = [];
  for (const item of text.split(",")) {
    const match = /^((?:[^=!]|!(?![=~]))+)(=~|!~|!=|=)(.*)$/s.exec(item);
    if (match) found.push({ key: unquote(match[1]!), op: match[2] as Operator, value: unquote(match[3]!) });
  }
  return found;
}

export function shownMatcher({ key, op, value }: Matcher): string {
  return `${key}${op}${value || '""'}`;
}

// As strict as a shell and the API's parser need: a quote, a tilde or an exclamation mark has a meaning there.
export function quote(text: string): string {
  return encodeURIComponent(text).replace(
    /[!'()*~]/g,
    (one) => `%${one.charCodeAt(0).toString(16).toUpperCase()}`,
  );
}

function unquote(text: string): string {
  try {
    return decodeURIComponent(text.replaceAll("+", " "));
  } catch {
    return text;
  }
}
