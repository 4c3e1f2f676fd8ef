/**
 * The cost of reads, computed before anything is read: a request of a few bytes may ask for
 * everything in the store, in one transaction even many times.
 */

import { RequestError } from "./request_error.ts";
import type { Size } from "./storage.ts";

/**
 * Limit for one response of KV.Range. etcd sends up to 2 GiB; the subnets of 60 000 nodes cost less
 * than a fifth of this limit.
 */
export const MAX_RESPONSE_BYTES = 128 << 20;
/** Limit for everything that a transaction reads; its reads cannot be interrupted. */
export const MAX_TRANSACTION_BYTES = 32 << 20;

/** Added for each key: for its numbers, and for the time to process it. */
const KEY_BYTES = 128;

export function costOf({ keys, bytes }: Size): number {
  return bytes + keys * KEY_BYTES;
}

/** Throws `RequestError` "responseTooLarge". */
export function assertCost(cost: number, max: number): void {
  if (cost > max) throw new RequestError("responseTooLarge", { detail: ` (${cost} vs. ${max})` });
}
