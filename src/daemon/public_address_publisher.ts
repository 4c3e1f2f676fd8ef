/** Tells the other nodes where this one is, when its public address changes. */

import type { PerFamily } from "../addr/family.ts";
import type { IpAddress } from "../addr/ip.ts";
import type { Log } from "../log/log.ts";
import type { LeaseAttributes } from "../subnet/lease.ts";
import type { OwnLease } from "../subnet/lease_store.ts";
import { backoffMs, type Clock, sleep } from "../base/clock.ts";

export interface PublicAddressPublisherOptions {
  readonly own: Pick<OwnLease, "update">;
  /** What the lease says beside the addresses. */
  readonly attributes: LeaseAttributes;
  /** What it says of them now. */
  readonly told: PerFamily<IpAddress>;
  readonly clock: Clock;
  readonly log: Log;
}

/**
 * Goes on until the store has taken the addresses: with the old one, this node has most likely lost
 * its connection to the store, too.
 */
export class PublicAddressPublisher implements Disposable {
  readonly #options: PublicAddressPublisherOptions;
  readonly #stop = new AbortController();
  #wanted: PerFamily<IpAddress>;
  /** `undefined` after an attempt that failed: it may have come through. */
  #told: PerFamily<IpAddress> | undefined;
  #isRunning = false;
  #problem: string | undefined;

  constructor(options: PublicAddressPublisherOptions) {
    this.#options = options;
    this.#wanted = this.#told = options.told;
  }

  /** Why the others do not know these addresses yet. */
  get problem(): string | undefined {
    return this.#problem;
  }

  /** Returns at once. */
  advertise(addresses: PerFamily<IpAddress>): void {
    this.#wanted = addresses;
    if (!this.#isRunning) void this.#run();
  }

  /** What is under way ends with the lease at the latest. */
  [Symbol.dispose](): void {
    this.#stop.abort();
  }

  /** Never throws. */
  async #run(): Promise<void> {
    this.#isRunning = true;
    const { clock } = this.#options;
    const { signal } = this.#stop;
    let failures = 0;
    while (!signal.aborted && !sameAddresses(this.#told, this.#wanted)) {
      if (await this.#tryOnce(this.#wanted)) failures = 0;
      else await sleep(clock, backoffMs(++failures, RETRY, clock), signal);
    }
    this.#isRunning = false;
  }

  async #tryOnce(publicAddresses: PerFamily<IpAddress>): Promise<boolean> {
    const { own, attributes, log } = this.#options;
    const { signal } = this.#stop;
    try {
      const limit = AbortSignal.any([signal, AbortSignal.timeout(ATTEMPT_MS)]);
      await own.update({ ...attributes, publicAddresses }, limit);
      log.info(`the other nodes are told the public address ${textOf(publicAddresses)}`);
      this.#told = publicAddresses;
      this.#problem = undefined;
      return true;
    } catch (error) {
      if (signal.aborted) return false;
      this.#told = undefined;
      const problem = "the other nodes do not know the new public address " +
        `${textOf(publicAddresses)} yet: ${(error as Error).message}`;
      if (problem !== this.#problem) log.warn(`${problem}; it is tried again`);
      this.#problem = problem;
      return false;
    }
  }
}

const ATTEMPT_MS = 30_000;
const RETRY = { firstMs: 500, maxMs: 10_000 };

function sameAddresses(a: PerFamily<IpAddress> | undefined, b: PerFamily<IpAddress>): boolean {
  return a !== undefined && a[4] === b[4] && a[6] === b[6];
}

function textOf(addresses: PerFamily<IpAddress>): string {
  return Object.values(addresses).join(" and ");
}
