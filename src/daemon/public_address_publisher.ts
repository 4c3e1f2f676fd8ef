/** Publishes this node's public addresses in its lease when they change. */

import { type PerFamily, valuesOf } from "../addr/family.ts";
import type { IpAddress } from "../addr/ip.ts";
import { errorMessage } from "../base/operator_error.ts";
import type { Log } from "../log/log.ts";
import type { LeaseAttributes } from "../subnet/lease.ts";
import type { OwnLease } from "../subnet/lease_store.ts";
import { backoffMs, type Clock, sleep } from "../base/clock.ts";

export interface PublicAddressPublisherOptions {
  readonly own: Pick<OwnLease, "update">;
  /** The lease's attributes; their public addresses are replaced. */
  readonly attributes: LeaseAttributes;
  /** The addresses that the lease has now. */
  readonly published: PerFamily<IpAddress>;
  readonly clock: Clock;
  readonly log: Log;
}

/**
 * Retries until the store has accepted the addresses: with the old one, this node has probably
 * lost its connection to the store, too.
 */
export class PublicAddressPublisher implements Disposable {
  readonly #options: PublicAddressPublisherOptions;
  readonly #stop = new AbortController();
  #wanted: PerFamily<IpAddress>;
  /** `undefined` after a failed attempt: the store may have executed it. */
  #published: PerFamily<IpAddress> | undefined;
  #isRunning = false;
  #problem: string | undefined;

  constructor(options: PublicAddressPublisherOptions) {
    this.#options = options;
    this.#wanted = this.#published = options.published;
  }

  /** Why the other nodes do not have the newest addresses. */
  get problem(): string | undefined {
    return this.#problem;
  }

  /** Returns at once. */
  publish(addresses: PerFamily<IpAddress>): void {
    this.#wanted = addresses;
    if (!this.#isRunning) void this.#run();
  }

  /** Cancels an attempt that is running. */
  [Symbol.dispose](): void {
    this.#stop.abort();
  }

  /** Never throws. */
  async #run(): Promise<void> {
    this.#isRunning = true;
    const { clock } = this.#options;
    const { signal } = this.#stop;
    let failures = 0;
    while (!signal.aborted && !sameAddresses(this.#published, this.#wanted)) {
      if (await this.#tryOnce(this.#wanted)) failures = 0;
      else await sleep(clock, backoffMs(++failures, RETRY, clock), signal);
    }
    this.#isRunning = false;
  }

  async #tryOnce(publicAddresses: PerFamily<IpAddress>): Promise<boolean> {
    const { own, attributes, clock, log } = this.#options;
    const { signal } = this.#stop;
    const limit = new AbortController();
    using _timer = clock.setTimer(ATTEMPT_MS, () => limit.abort(TIMEOUT));
    try {
      const attempt = AbortSignal.any([signal, limit.signal]);
      await own.update({ ...attributes, publicAddresses }, attempt);
      log.info(`published the public address ${textOf(publicAddresses)}`);
      this.#published = publicAddresses;
      this.#problem = undefined;
      return true;
    } catch (error) {
      if (signal.aborted) return false;
      this.#published = undefined;
      const problem = `cannot publish the public address ${textOf(publicAddresses)}: ${
        errorMessage(error)
      }`;
      if (problem !== this.#problem) log.warn(`${problem}; retrying`);
      this.#problem = problem;
      return false;
    }
  }
}

const ATTEMPT_MS = 30_000;
const TIMEOUT = new Error("no response within 30 s");
const RETRY = { firstMs: 500, maxMs: 10_000 };

function sameAddresses(a: PerFamily<IpAddress> | undefined, b: PerFamily<IpAddress>): boolean {
  return a !== undefined && a[4] === b[4] && a[6] === b[6];
}

function textOf(addresses: PerFamily<IpAddress>): string {
  return valuesOf(addresses).join(" and ");
}
