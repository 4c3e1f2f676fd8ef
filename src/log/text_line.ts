/** klog's line: `I1121 02:16:06.123456    1234 vxlan] message key=value`, in local time. */

import { escaped } from "../base/quoting.ts";

interface Record {
  readonly level: string;
  readonly time: number;
  readonly pid: number;
  readonly component?: string;
  readonly msg?: string;
  readonly err?: unknown;
  readonly [field: string]: unknown;
}

/**
 * One line of pino's JSON, as `createLogger` configures it, as one line of text. No value in it can
 * forge a line or control a terminal.
 */
export function textLine(json: string): string {
  const { level, time, pid, component, msg, err, ...fields } = JSON.parse(json) as Record;
  const parts = [`${header(level, time, pid)} ${component ?? "flanneld"}]`];
  if (msg !== undefined) parts.push(escaped(msg));
  if (err !== undefined) parts.push(`err=${errorText(err, level)}`);
  for (const [key, value] of Object.entries(fields)) parts.push(`${key}=${fieldText(value)}`);
  return parts.join(" ") + "\n";
}

const LETTERS: { readonly [level: string]: string } = { fatal: "F", error: "E", warn: "W" };

function header(level: string, timeMs: number, pid: number): string {
  const date = new Date(Math.floor(timeMs));
  const pad = (value: number, width = 2) => String(value).padStart(width, "0");
  const micros = Math.floor((timeMs - Math.floor(timeMs)) * 1000);
  return `${LETTERS[level] ?? "I"}${pad(date.getMonth() + 1)}${pad(date.getDate())} ` +
    `${pad(date.getHours())}:${pad(date.getMinutes())}:${pad(date.getSeconds())}.` +
    `${pad(date.getMilliseconds(), 3)}${pad(micros, 3)} ${String(pid).padStart(7)}`;
}

/** The message with those of its causes; at `debug`, `trace` and `fatal`, the stack. */
function errorText(err: unknown, level: string): string {
  const { message, stack } = err as { message?: string; stack?: string };
  const isDetailed = level === "debug" || level === "trace" || level === "fatal";
  return fieldText(isDetailed ? stack ?? message : message ?? err);
}

function fieldText(value: unknown): string {
  if (typeof value !== "string") return escaped(JSON.stringify(value));
  return /^[^\s"=\p{C}]+$/u.test(value) ? value : escaped(JSON.stringify(value));
}
