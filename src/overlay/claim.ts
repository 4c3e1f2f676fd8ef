/** Waits for a resource that only one daemon can use at a time. */

import { type Clock, sleep } from "../base/clock.ts";
import type { Log } from "../log/log.ts";
import { BackendError } from "./backend_error.ts";

export interface ClaimOptions {
  readonly log: Log;
  readonly clock: Clock;
  readonly stop: AbortSignal;
}

export type ClaimAttempt =
  | { readonly kind: "claimed"; readonly claim: Disposable }
  | {
    readonly kind: "taken";
    /** Such as `another flanneld (process 77) uses the device flannel-wg`. */
    readonly holder: string;
    /** The message of the error, with what to do. */
    readonly refusal: string;
  };

/** At a restart the previous daemon may still be ending, which takes up to 5 s. */
const HANDOVER_MS = 10_000;
const RETRY_MS = 250;

/**
 * Repeats `attempt` until it succeeds, for a while. Throws `BackendError` if another daemon keeps
 * the resource, or the reason of `stop`.
 */
export async function waitForClaim(
  attempt: () => ClaimAttempt,
  { log, clock, stop }: ClaimOptions,
): Promise<Disposable> {
  let isWaiting = false;
  for (const deadlineMs = clock.nowMs() + HANDOVER_MS;;) {
    const result = attempt();
    if (result.kind === "claimed") return result.claim;
    if (clock.nowMs() >= deadlineMs) throw new BackendError(result.refusal);
    if (!isWaiting) log.info(`${result.holder}; waiting for it to end`);
    isWaiting = true;
    await sleep(clock, RETRY_MS, stop);
    stop.throwIfAborted();
  }
}
