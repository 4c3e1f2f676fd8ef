/**
 * Watches this host's network: addresses, links and routes, except the routes of this program.
 *
 * The start of a container causes some ten notifications, and a router may change a thousand
 * routes per second. So changes are collected and reported at most once a second.
 */

import type { Log } from "../log/log.ts";
import type { Kernel, KernelEvent } from "../kernel/kernel.ts";
import { RTPROT_FLANNEL } from "../state/resource.ts";
import type { Clock } from "../base/clock.ts";

/**
 * Related changes arrive within this time. The random part keeps nodes from connecting to the
 * store all at once when a router of their network changes.
 */
const GATHER_MS = 100;
const GATHER_SPREAD_MS = 200;
const MIN_INTERVAL_MS = 1_000;

export interface NetworkChangesOptions {
  readonly kernel: Pick<Kernel, "watch">;
  readonly onChanged: () => Promise<void>;
  readonly clock: Clock;
  readonly log: Log;
}

/** Calls `onChanged` shortly after a change, never concurrently, until disposed. */
export class NetworkChanges implements Disposable {
  readonly #options: NetworkChangesOptions;
  readonly #subscription: Disposable;
  #timer: Disposable | undefined;
  #isHandling = false;
  #hasChanged = false;
  #lastMs = -Infinity;
  #isStopped = false;

  /** Throws `KernelError`. */
  constructor(options: NetworkChangesOptions) {
    this.#options = options;
    this.#subscription = options.kernel.watch((event) => {
      if (mayConcernConnections(event)) this.#schedule();
    });
  }

  [Symbol.dispose](): void {
    this.#isStopped = true;
    this.#subscription[Symbol.dispose]();
    this.#timer?.[Symbol.dispose]();
  }

  #schedule(): void {
    if (this.#isStopped || this.#timer !== undefined) return;
    if (this.#isHandling) {
      this.#hasChanged = true;
      return;
    }
    const { clock } = this.#options;
    const gatherMs = GATHER_MS + clock.random() * GATHER_SPREAD_MS;
    const delayMs = Math.max(gatherMs, this.#lastMs + MIN_INTERVAL_MS - clock.nowMs());
    this.#timer = clock.setTimer(delayMs, () => void this.#handle());
  }

  async #handle(): Promise<void> {
    const { clock, onChanged, log } = this.#options;
    this.#timer = undefined;
    this.#lastMs = clock.nowMs();
    this.#isHandling = true;
    try {
      await onChanged();
    } catch (err) {
      // The store's client still detects a dead connection later, by PING.
      log.debug({ err }, "cannot handle a change of this host's network");
    }
    this.#isHandling = false;
    if (!this.#hasChanged) return;
    this.#hasChanged = false;
    this.#schedule();
  }
}

function mayConcernConnections(event: KernelEvent): boolean {
  if (event.kind === "overrun") return true;
  const { resource } = event;
  switch (resource.kind) {
    case "address":
    case "link":
      return true;
    case "route":
      return resource.protocol !== RTPROT_FLANNEL;
    default:
      return false;
  }
}
