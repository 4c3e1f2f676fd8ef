/**
 * Reports changes of firewall rules.
 *
 * The kernel announces changes of nftables, and so of iptables where it stores its rules in
 * nftables. It announces nothing about legacy iptables, which has to be checked periodically.
 */

import { FAMILIES, type Family } from "../addr/ip.ts";
import type { Clock } from "../base/clock.ts";
import { errorMessage } from "../base/operator_error.ts";
import type { Log } from "../log/log.ts";
import { watchNftables } from "./nftables/nft_watch.ts";
import type { NftChange, RuleTarget } from "./rules/rule_target.ts";

export interface RuleWatcherOptions {
  readonly target: RuleTarget;
  /** The period of checks if the kernel does not announce changes. */
  readonly resyncMs: number;
  readonly receiveBufferBytes?: number | undefined;
  readonly clock: Clock;
  readonly log: Log;
  /** Whether the family has rules. */
  isUsed(family: Family): boolean;
  /** Whether a check of the family is due anyway: its changes need not be reported. */
  isPending(family: Family): boolean;
  /** The rules of the family may have changed. */
  onChange(family: Family): void;
  /** Some rule of any program may have changed. */
  onAnyChange(): void;
}

export class RuleWatcher implements Disposable {
  readonly #options: RuleWatcherOptions;
  #watch: Disposable | undefined;
  #timer: Disposable | undefined;
  #polledFamily: Family = 6;
  #isDisposed = false;

  constructor(options: RuleWatcherOptions) {
    this.#options = options;
  }

  /** Starts to watch, or to poll if that is impossible. */
  async start(): Promise<void> {
    const { target, clock, receiveBufferBytes } = this.#options;
    if (!target.announcesChanges) return this.#poll();
    const listener = {
      onChange: (change: NftChange) => this.#received(change),
      onOverrun: () => this.#notificationsLost(),
      onFailure: (error: unknown) => this.#watchFailed(error),
    };
    try {
      this.#watch = await watchNftables(listener, { clock, receiveBufferBytes });
    } catch (error) {
      this.#pollInstead(error);
    }
  }

  [Symbol.dispose](): void {
    this.#isDisposed = true;
    this.#timer?.[Symbol.dispose]();
    this.#watch?.[Symbol.dispose]();
  }

  #received(change: NftChange): void {
    const { target, isPending, onAnyChange, onChange, log } = this.#options;
    onAnyChange();
    const { family, table, chain } = change;
    if (family === undefined || isPending(family) || !target.concerns(change)) return;
    log.trace({ family, table, chain }, "firewall rules changed");
    onChange(family);
  }

  #notificationsLost(): void {
    this.#options.log.debug("nftables notifications were lost; checking the firewall rules");
    for (const family of FAMILIES) this.#options.onChange(family);
  }

  #watchFailed(error: unknown): void {
    for (const family of FAMILIES) this.#options.onChange(family);
    this.#pollInstead(error);
  }

  #pollInstead(error: unknown): void {
    const { resyncMs, log } = this.#options;
    log.warn(
      `${errorMessage(error)}; checking the firewall rules every ${resyncMs / 1000} s instead`,
    );
    this.#poll();
  }

  #poll(): void {
    if (this.#timer !== undefined || this.#isDisposed) return;
    const { clock, resyncMs, isUsed, onAnyChange, onChange } = this.#options;
    this.#timer = clock.setTimer(resyncMs, () => {
      this.#timer = undefined;
      onAnyChange();
      // One family at a time, so that each period starts one program only.
      const other = this.#polledFamily === 4 ? 6 : 4;
      if (isUsed(other)) this.#polledFamily = other;
      onChange(this.#polledFamily);
      this.#poll();
    });
  }
}
