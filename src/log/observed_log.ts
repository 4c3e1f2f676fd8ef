/** A log whose messages are also passed to a function. */

import type { Log } from "./log.ts";

/** `log`, with each message of level `info` or above also passed to `onLine`, including its children's. */
export function observedLog(log: Log, onLine: (message: string) => void): Log {
  const observed = (level: "fatal" | "error" | "warn" | "info") => (...args: unknown[]): void => {
    (log[level] as (...args: unknown[]) => void)(...args);
    // The fields come first, where there are any.
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
