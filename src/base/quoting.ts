/**
 * Text from outside, made safe for a message: limited in length, and without characters that end a line,
 * control a terminal or reverse the text.
 */

/**
 * Control characters, line and paragraph separators, bidirectional formatting characters, the byte order
 * mark, and unpaired surrogates.
 */
const UNSAFE = /[\p{Cc}\p{Cs}\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff]/gu;

const SHORT_ESCAPES: Readonly<Record<string, string>> = {
  "\b": "\\b",
  "\t": "\\t",
  "\n": "\\n",
  "\f": "\\f",
  "\r": "\\r",
};

/** The same text with such characters escaped as in JSON: `\n`, `\u202e`. */
export function escaped(text: string): string {
  return text.replace(
    UNSAFE,
    (character) =>
      SHORT_ESCAPES[character] ?? `\\u${character.charCodeAt(0).toString(16).padStart(4, "0")}`,
  );
}

/** At most `maxLength` UTF-16 units of a text; `…` marks that it was cut. */
export function truncated(text: string, maxLength: number): string {
  return text.length <= maxLength ? text : `${text.slice(0, maxLength)}…`;
}

/** A value as JSON, such as `"vxlan"` or `{"VNI":1}`, cut if it is long. */
export function quoted(value: unknown, maxLength: number = MAX_SHOWN): string {
  // Cut before quoting, so that the quotes are closed.
  if (typeof value === "string") return escaped(JSON.stringify(truncated(value, maxLength)));
  return escaped(truncated(jsonOf(value), maxLength));
}

/** A name without quotes, such as the key of a lease. */
export function printableName(name: string, maxLength: number = MAX_NAME): string {
  return escaped(truncated(name, maxLength));
}

/** A message as one line that is safe to print. */
export function printableLine(text: string, maxLength: number = MAX_LINE): string {
  return escaped(truncated(text, maxLength));
}

const MAX_LINE = 2048;
const MAX_SHOWN = 60;
/** The key of a dual-stack lease has up to 62. */
const MAX_NAME = 80;

/** `JSON.stringify` fails for values that are nested too deeply or contain a cycle. */
function jsonOf(value: unknown): string {
  // JSON has no infinity, but 1e999 is read as one.
  if (typeof value === "number") return String(value);
  try {
    return JSON.stringify(value) ?? "undefined";
  } catch {
    if (typeof value !== "object") return String(value);
    return Array.isArray(value) ? "[…]" : "{…}";
  }
}
