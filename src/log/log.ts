/**
 * The logger that every component is given: pino's interface, so that `log.warn({ lease: key }, "…")`
 * works everywhere, and tests can pass one that collects.
 */

import type { Logger } from "pino";

export type Log = Pick<
  Logger,
  "fatal" | "error" | "warn" | "info" | "debug" | "trace" | "child" | "isLevelEnabled"
>;
