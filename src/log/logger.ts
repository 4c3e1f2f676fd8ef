/**
 * The program's log: pino, written to standard error in klog's text format or as JSON.
 *
 * Lines are written synchronously, so the last one before an exit is not lost. pino's transports
 * are not used: they are worker threads that load files, which a compiled program does not have.
 */

import { type Logger, pino } from "pino";
import { unixTimeMs } from "../base/clock.ts";
import { boundedLine, escapedLine } from "./bounded_line.ts";
import type { LogFormat } from "./log_format.ts";
import type { Log } from "./log.ts";
import { droppedText, standardErrorOutput } from "./log_output.ts";
import { textLine } from "./text_line.ts";

export interface LoggerOptions {
  readonly format: LogFormat;
  /** klog's `-v`: 0 is `info`, 1 to 3 add `debug`, 4 and more add `trace`. */
  readonly verbosity: number;
  /** Receives each line with its newline; by default, lines go to standard error. */
  readonly write?: (line: string) => void;
}

/**
 * Creates the logger; `log.child({ component: "vxlan" })` names the component that logs. Pass an
 * error as `err`. Fields with the names of secrets are redacted.
 */
export function createLogger(options: LoggerOptions): Log {
  const isText = options.format === "text";
  const output = options.write ?? standardErrorOutput(
    isText ? {} : {
      droppedLine: (count) => JSON.stringify({ level: "warn", msg: droppedText(count) }) + "\n",
    },
  );
  const format = isText ? textLine : escapedLine;
  const write = (line: string) => output(format(boundedLine(line)));
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

/** The `time` member of pino's line, with microseconds, which klog's header shows. */
function exactTime(): string {
  return `,"time":${unixTimeMs().toFixed(3)}`;
}
