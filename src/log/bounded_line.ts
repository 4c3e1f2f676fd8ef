/**
 * The last safeguard against text from outside: no log line exceeds a few kilobytes, whatever a
 * message quotes. Messages already shorten the values that they quote (`quoted`).
 */

import { escaped, truncated } from "../base/quoting.ts";

/** One line of pino's JSON; in a long line, each string is truncated. */
export function boundedLine(json: string): string {
  if (json.length <= MAX_LINE) return json;
  const fields = Object.entries(JSON.parse(json) as Record<string, unknown>);
  const bounded = fields.slice(0, MAX_FIELDS).map(([name, value]) => [
    name,
    name === "msg" ? truncated(String(value), MAX_MESSAGE) : boundedValue(value),
  ]);
  return `${JSON.stringify(Object.fromEntries(bounded))}\n`;
}

/**
 * The same line with characters escaped that JSON allows but a terminal would interpret. They occur
 * only inside strings, so the result is equivalent JSON.
 */
export function escapedLine(json: string): string {
  return `${escaped(json.trimEnd())}\n`;
}

/** Shorter lines are not changed. A stack with its causes may reach this length. */
const MAX_LINE = 4096;
const MAX_MESSAGE = 2048;
const MAX_VALUE = 1024;
const MAX_STACK = 4096;
const MAX_FIELDS = 50;

/**
 * A string is truncated. In an object, such as an error, each string is truncated; if the object is
 * still long, its JSON is.
 */
function boundedValue(value: unknown): unknown {
  if (typeof value === "string") return truncated(value, MAX_VALUE);
  if (typeof value !== "object" || value === null) return value;
  const members = Object.entries(value);
  const bounded = Object.fromEntries(
    members.slice(0, MAX_FIELDS).map(([name, item]) => [
      name,
      typeof item === "string" ? truncated(item, name === "stack" ? MAX_STACK : MAX_VALUE) : item,
    ]),
  );
  const rest = JSON.stringify(bounded);
  return !Array.isArray(value) && rest.length <= MAX_STACK * 2
    ? bounded
    : truncated(rest, MAX_VALUE);
}
