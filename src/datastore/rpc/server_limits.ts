/** Limits for clients of the server, individually and together. */

import { openFilesLimit } from "../../process/resource_limits.ts";

export interface ServerLimits {
  /** In all. A node has one or two; 5 000 nodes stay below. */
  readonly connections: number;
  /** Concurrent calls, in all. A node has about three: its watches and its keep-alive. */
  readonly streams: number;
  readonly streamsPerConnection: number;
  /** What each connection may have when there are too many in all: a node must reach its lease. */
  readonly reservedStreams: number;
  /** Bytes of incomplete requests, in all. */
  readonly requestBytes: number;
  /** From the first byte of a request to its last one, and from the start of a call to its request. */
  readonly requestMs: number;
  /** From the start of a stream to its first request: etcd's client opens keep-alive streams early. */
  readonly firstRequestMs: number;
  /** How long a client may read nothing of its answer. */
  readonly stallMs: number;
  /** A client that has vanished is noticed after the sum of the two. */
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
