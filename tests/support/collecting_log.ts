/** A logger that keeps what it is told, for tests. */

import type { Log } from "../../src/log/log.ts";
import pino from "pino";

export interface LogRecord {
  readonly level: "trace" | "debug" | "info" | "warn" | "error" | "fatal";
  readonly msg: string;
  readonly [field: string]: unknown;
}

export function collectingLog(): { readonly log: Log; readonly records: LogRecord[] } {
  const records: LogRecord[] = [];
  const write = (line: string) => {
    const record = JSON.parse(line);
    records.push({ ...record, level: pino.levels.labels[record.level] });
  };
  return { log: pino({ level: "trace" }, { write }), records };
}
