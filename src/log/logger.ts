/**
 * The program's log: pino, written to standard error in klog's text form or as JSON.
 *
 * Lines are written synchronously, so that the last one before an exit is not lost. There is no pino
 * transport: transports are worker threads that load files, and a compiled program has none.
 */

import { type Logger, pino } from "pino";
import { boundedLine, escapedLine } from "./bounded_line.ts";
import type { LogFormat } from "./format.ts";
import type { Log } from "./log.ts";
import { lostText, standardErrorOutput } from "./log_output.ts";
import { textLine } from "./text_line.ts";

export interface LoggerOptions {
  readonly format: LogFormat;
  /** klog's `-v`: 0 information, 1 to 3 also `debug`, 4 and more also `trace`. */
  readonly verbosity: number;
  /** Takes each line with its newline; by default it goes to standard error. */
  readonly write?: (line: string) => void;
}

/**
 * Makes the logger; `log.child({ component: "vxlan" })` names the part that speaks. An error is given
 * as `err`. Fields named like secrets are redacted.
 */
export function createLogger(options: LoggerOptions): Log {
  const isText = options.format === "text";
  const sink = options.write ?? standardErrorOutput(
    isText ? {} : {
      lostLine: (count) => JSON.stringify({ level: "warn", msg: lostText(count) }) + "\n",
    },
  );
  const format = isText ? textLine : escapedLine;
  const write = (line: string) => sink(format(boundedLine(line)));
  return pino({
    level: levelOf(options.verbosity),
    base: { pid: process.pid },
    timestamp: isText ? exactTime : pino.stdTimeFunctions.isoTime,
    formatters: { level: (label: string) => ({ level: label }) },
    redact: {
      paths: SECRETS.flatMap((name) => [name, `*.${name}`, `*.*.${name}`]),
      censor: "[redacted]",
    },
  }, { write }) satisfies Logger;
}

function levelOf(verbosity: number): "info" | "debug" | "trace" {
  if (verbosity >= 4) return "trace";
  return verbosity >= 1 ? "debug" : "info";
}

/** Names of fields whose values are never written. */
const SECRETS = [
  "password",
  "etcdPassword",
  "psk",
  "PSK",
  "privateKey",
  "secret",
  "token",
  "AccessKeySecret",
  "accessKeySecret",
  "authorization",
];

/** Milliseconds since the epoch with microseconds as fraction, as klog's header has them. */
function exactTime(): string {
  return `,"time":${(performance.timeOrigin + performance.now()).toFixed(3)}`;
}
