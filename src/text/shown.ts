/**
 * Text from outside, fit for a message: cut to a length, and without characters that end a line, drive
 * a terminal or turn the text around.
 */

/**
 * Control characters, line and paragraph separators, marks that change the direction of text, the byte
 * order mark, and halves of surrogate pairs.
 */
const UNSAFE = /[\p{Cc}\p{Cs}\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff]/gu;

const SHORT_ESCAPES: Readonly<Record<string, string>> = {
  "\b": "\\b",
  "\t": "\\t",
  "\n": "\\n",
  "\f": "\\f",
  "\r": "\\r",
};

/** The same text with such characters as JSON would escape them: `\n`, `\u202e`. */
export function escaped(text: string): string {
  return text.replace(
    UNSAFE,
    (character) =>
      SHORT_ESCAPES[character] ?? `\\u${character.charCodeAt(0).toString(16).padStart(4, "0")}`,
  );
}

/** At most so many UTF-16 units of a text; `…` says that there is more. */
export function cut(text: string, maxLength: number): string {
  return text.length <= maxLength ? text : `${text.slice(0, maxLength)}…`;
}

/** A value as it stands in JSON, such as `"vxlan"` or `{"VNI":1}`; what is long is cut. */
export function shown(value: unknown, maxLength: number = MAX_SHOWN): string {
  // The quotes are closed also where the text is cut.
  if (typeof value === "string") return escaped(JSON.stringify(cut(value, maxLength)));
  return escaped(cut(jsonOf(value), maxLength));
}

/** A name as it is, without quotes, such as the key of a lease. */
export function shownName(name: string, maxLength: number = MAX_NAME): string {
  return escaped(cut(name, maxLength));
}

/** One line of a message as it may be printed, whatever stands in it. */
export function oneLine(text: string, maxLength: number = MAX_LINE): string {
  return escaped(cut(text, maxLength));
}

const MAX_LINE = 2048;
const MAX_SHOWN = 60;
/** The key of a dual-stack lease has up to 62. */
const MAX_NAME = 80;

/** `JSON.stringify` recurses: what is nested too deep has no JSON, and neither has a cycle. */
function jsonOf(value: unknown): string {
  try {
    return JSON.stringify(value) ?? "undefined";
  } catch {
    if (typeof value !== "object") return String(value);
    return Array.isArray(value) ? "[…]" : "{…}";
  }
}
