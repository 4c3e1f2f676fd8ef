/** A logger for tests that keeps its lines. */

import type { Log } from "../../src/log/log.ts";
import pino from "pino";

export interface LogRecord {
  readonly level: "trace" | "debug" | "info" | "warn" | "error" | "fatal";
  readonly msg: string;
  readonly [field: string]: unknown;
}

/** Keeps the lines of this level and above. */
export function collectingLog(
  level: LogRecord["level"] = "trace",
): { readonly log: Log; readonly records: LogRecord[] } {
  const records: LogRecord[] = [];
  const write = (line: string) => {
    const record = JSON.parse(line);
    records.push({ ...record, level: pino.levels.labels[record.level] });
  };
  return { log: pino({ level }, { write }), records };
}
