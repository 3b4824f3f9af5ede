// Label matchers as the API writes them: key=value, key!=value, key=~regex, key!~regex, separated by commas.

export const OPERATORS = ["=", "!=", "=~", "!~"] as const;
export type Operator = (typeof OPERATORS)[number];

export interface Matcher {
  key: string;
  op: Operator;
  value: string;
}

export function formatMatchers(matchers: readonly Matcher[]): string {
  return matchers.map(({ key, op, value }) => percentEncode(key) + op + percentEncode(value)).join(",");
}

// Parses matchers and skips malformed ones.
export function parseMatchers(text: string): Matcher[] {
  const matchers: Matcher[] = [];
  for (const item of text.split(",")) {
    const match = /^((?:[^=!]|!(?![=~]))+)(=~|!~|!=|=)(.*)$/s.exec(item);
    if (match) {
      matchers.push({ key: percentDecode(match[1]!), op: match[2] as Operator, value: percentDecode(match[3]!) });
    }
  }
  return matchers;
}

export function displayMatcher({ key, op, value }: Matcher): string {
  return `${key}${op}${value || '""'}`;
}

// Also encodes what encodeURIComponent leaves: shells and the API's parser give ! ' ( ) * ~ a meaning.
export function percentEncode(text: string): string {
  return encodeURIComponent(text).replace(
    /[!'()*~]/g,
    (character) => `%${character.charCodeAt(0).toString(16).toUpperCase()}`,
  );
}

function percentDecode(text: string): string {
  try {
    return decodeURIComponent(text.replaceAll("+", " "));
  } catch {
    return text;
  }
}
