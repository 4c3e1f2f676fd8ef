/**
 * What reading costs: a request of a few bytes may ask for everything that is stored, and again and
 * again in one transaction. The cost is known before anything is read.
 */

import { Refusal } from "./refusal.ts";
import type { Size } from "./storage.ts";

/**
 * Of one answer to KV.Range. etcd sends 2 GiB; the subnets of 60 000 nodes come to a tenth of this.
 */
export const MAX_ANSWER_BYTES = 128 << 20;
/** Of all that a transaction reads, whose reads cannot be interrupted. */
export const MAX_TRANSACTION_BYTES = 32 << 20;

/** Of each key besides its own bytes: its numbers, and the time to look at it. */
const KEY_BYTES = 128;

export function costOf({ keys, bytes }: Size): number {
  return bytes + keys * KEY_BYTES;
}

/** Throws `Refusal` "answerTooLarge". */
export function assertCost(cost: number, max: number): void {
  if (cost > max) throw new Refusal("answerTooLarge", undefined, ` (${cost} vs. ${max})`);
}
