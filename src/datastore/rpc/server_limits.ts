/** Limits for each client of the server and for all of them. */

import { openFilesLimit } from "../../process/resource_limits.ts";

export interface ServerLimits {
  /** In total. A node has one or two; 5 000 nodes stay below this limit. */
  readonly connections: number;
  /** Concurrent calls, in total. A node has about four: its watches and its keep-alive. */
  readonly streams: number;
  readonly streamsPerConnection: number;
  /** Calls that a connection may have even at these limits: a node has to renew its lease. */
  readonly reservedStreams: number;
  /** Bytes of incomplete requests, in total. */
  readonly requestBytes: number;
  /** From the first byte of a request to its last, and from the start of a call to its request. */
  readonly requestMs: number;
  /**
   * From the start of a stream to its first request: etcd clients open keep-alive streams early.
   */
  readonly firstRequestMs: number;
  /** How long a client may read nothing of a response. */
  readonly stallMs: number;
  /** A client that has vanished is detected after the sum of both. */
  readonly pingIntervalMs: number;
  readonly pingTimeoutMs: number;
}

export function defaultLimits(): ServerLimits {
  return {
    connections: Math.min(16_384, (openFilesLimit() ?? 1_024) - OTHER_FILES),
    streams: 32_768,
    streamsPerConnection: 1_024,
    reservedStreams: 4,
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
