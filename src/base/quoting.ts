/**
 * Makes text from outside safe for messages: limits its length, and escapes characters that end a
 * line, control a terminal or reverse the text. Each message with a value from a lease, a file or a
 * server needs it.
 */

/**
 * Control characters, line and paragraph separators, bidirectional formatting characters, the byte
 * order mark, and unpaired surrogates.
 */
const UNSAFE = /[\p{Cc}\p{Cs}\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff]/gu;

const SHORT_ESCAPES: Readonly<Record<string, string>> = {
  "\b": "\\b",
  "\t": "\\t",
  "\n": "\\n",
  "\f": "\\f",
  "\r": "\\r",
};

/** The text with unsafe characters escaped as in JSON: `\n`, `\u202e`. */
export function escaped(text: string): string {
  return text.replace(
    UNSAFE,
    (character) =>
      SHORT_ESCAPES[character] ?? `\\u${character.charCodeAt(0).toString(16).padStart(4, "0")}`,
  );
}

/** The first `maxLength` UTF-16 code units of a text, with `…` if it was longer. */
export function truncated(text: string, maxLength: number): string {
  return text.length <= maxLength ? text : `${text.slice(0, maxLength)}…`;
}

/** A value as JSON, such as `"vxlan"` or `{"VNI":1}`, truncated to `maxLength` code units. */
export function quoted(value: unknown, maxLength: number = MAX_QUOTED): string {
  // Truncated before it is quoted, so that the quotes are closed.
  if (typeof value === "string") return escaped(JSON.stringify(truncated(value, maxLength)));
  return escaped(truncated(jsonOf(value), maxLength));
}

/** A name without quotes, such as the key of a lease, truncated and escaped. */
export function printableName(name: string, maxLength: number = MAX_NAME): string {
  return escaped(truncated(name, maxLength));
}

/** A message as one line that is safe to print, truncated and escaped. */
export function printableLine(text: string, maxLength: number = MAX_LINE): string {
  return escaped(truncated(text, maxLength));
}

/** A text in single quotes, as one word of a POSIX shell. */
export function shellQuoted(text: string): string {
  return `'${text.replaceAll("'", `'\\''`)}'`;
}

const MAX_LINE = 2048;
const MAX_QUOTED = 60;
/** The key of a dual-stack lease has up to 62 characters. */
const MAX_NAME = 80;

/** `JSON.stringify` throws for values that are nested too deeply or contain a cycle. */
function jsonOf(value: unknown): string {
  // JSON has no infinity, but 1e999 is parsed as one.
  if (typeof value === "number") return String(value);
  try {
    return JSON.stringify(value) ?? "undefined";
  } catch {
    if (typeof value !== "object") return String(value);
    return Array.isArray(value) ? "[…]" : "{…}";
  }
}
