/** What clients may have of the server, one by one and together. */

import { readFileSync } from "node:fs";

export interface ServerLimits {
  /** In all. A node has one or two, and a cluster of 5 000 stays below. */
  readonly connections: number;
  /** Calls at a time, in all. A node has about three: its watches and what keeps its lease alive. */
  readonly streams: number;
  readonly streamsPerConnection: number;
  /** Parts of requests of which the rest is still to come, in all. */
  readonly requestBytes: number;
  /** From the first byte of a request to its last one, and from a call to its request. */
  readonly requestMs: number;
  /** From a stream to its first request: etcd's client opens one for renewals long before they are due. */
  readonly firstRequestMs: number;
  /** A client that is alive and takes nothing of what it has asked for. */
  readonly stallMs: number;
  /** A client that has vanished without a word is noticed after the two together. */
  readonly pingIntervalMs: number;
  readonly pingTimeoutMs: number;
}

export function defaultLimits(): ServerLimits {
  return {
    connections: Math.min(16_384, openFilesLimit() - OTHER_FILES),
    streams: 32_768,
    streamsPerConnection: 1_024,
    requestBytes: 64 << 20,
    requestMs: 30_000,
    firstRequestMs: 600_000,
    stallMs: 60_000,
    pingIntervalMs: 45_000,
    pingTimeoutMs: 20_000,
  };
}

/** For the data, the log and the runtime. */
const OTHER_FILES = 64;

/** RLIMIT_NOFILE; the runtime has raised it as far as it may. */
function openFilesLimit(): number {
  const [, soft = ""] =
    /^Max open files\s+(\d+)/m.exec(readFileSync("/proc/self/limits", "utf8")) ??
      [];
  return soft === "" ? 1_024 : Number(soft);
}
