/**
 * A log that passes each message to a function as well. The daemon shows the last one as its state.
 */

import type { Log } from "./log.ts";

/** Messages of level `info` or above also go to `onLine`, those of child loggers included. */
export function observedLog(log: Log, onLine: (message: string) => void): Log {
  const observed = (level: "fatal" | "error" | "warn" | "info") => (...args: unknown[]): void => {
    (log[level] as (...args: unknown[]) => void)(...args);
    // If there are fields, they are the first argument.
    const message = args.find((arg) => typeof arg === "string");
    if (message !== undefined) onLine(message);
  };
  return {
    fatal: observed("fatal"),
    error: observed("error"),
    warn: observed("warn"),
    info: observed("info"),
    debug: log.debug.bind(log),
    trace: log.trace.bind(log),
    isLevelEnabled: log.isLevelEnabled.bind(log),
    child: ((...args: Parameters<Log["child"]>) => observedLog(log.child(...args), onLine)) as Log[
      "child"
    ],
  } as Log;
}
