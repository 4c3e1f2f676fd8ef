/**
 * The last line of defence against text from outside: no line of the log is longer than some kilobytes,
 * whatever a message quotes. What quotes it cuts it by itself (`shown`), to what helps.
 */

import { cut, escaped } from "../text/shown.ts";

/** One line of pino's JSON with each text in it cut, if the line is long at all. */
export function boundedLine(json: string): string {
  if (json.length <= MAX_LINE) return json;
  const fields = Object.entries(JSON.parse(json) as Record<string, unknown>);
  const bounded = fields.slice(0, MAX_FIELDS).map(([name, value]) => [
    name,
    name === "msg" ? cut(String(value), MAX_MESSAGE) : boundedValue(value),
  ]);
  return `${JSON.stringify(Object.fromEntries(bounded))}\n`;
}

/**
 * The same with what JSON may have in its texts and a terminal would act upon as escapes: such
 * characters are found in texts only, so that it is JSON that says the same.
 */
export function escapedLine(json: string): string {
  return `${escaped(json.trimEnd())}\n`;
}

/** Long lines are looked at; a stack with its causes is as long. */
const MAX_LINE = 4096;
const MAX_MESSAGE = 2048;
const MAX_VALUE = 1024;
const MAX_STACK = 4096;
const MAX_FIELDS = 50;

/** A text is cut; an object, such as an error, has its texts cut, or is shown as the text of its JSON. */
function boundedValue(value: unknown): unknown {
  if (typeof value === "string") return cut(value, MAX_VALUE);
  if (typeof value !== "object" || value === null) return value;
  const members = Object.entries(value);
  const bounded = Object.fromEntries(
    members.slice(0, MAX_FIELDS).map(([name, item]) => [
      name,
      typeof item === "string" ? cut(item, name === "stack" ? MAX_STACK : MAX_VALUE) : item,
    ]),
  );
  const rest = JSON.stringify(bounded);
  return !Array.isArray(value) && rest.length <= MAX_STACK * 2 ? bounded : cut(rest, MAX_VALUE);
}
