import type { Clock } from "../base/clock.ts";
import type { Log } from "../log/log.ts";
import { RateLimitedWarnings } from "../log/rate_limited_warnings.ts";
import type { LeaseKey } from "../subnet/lease.ts";

/**
 * Which peers are ignored or unreachable, and why. Logs each reason when it is new or has changed.
 */
export class PeerProblems implements Disposable {
  readonly #ignored = new Map<LeaseKey, string>();
  readonly #unreachable = new Map<LeaseKey, string>();
  readonly #warnings: RateLimitedWarnings;

  constructor(options: { readonly log: Log; readonly clock: Clock }) {
    this.#warnings = new RateLimitedWarnings(options);
  }

  /** Peers that have no entries because of their lease, with the reason. */
  get ignored(): ReadonlyMap<LeaseKey, string> {
    return this.#ignored;
  }

  /** Other peers to which there is no route at present, with the reason. */
  get unreachable(): ReadonlyMap<LeaseKey, string> {
    return this.#unreachable;
  }

  /** `fault` is the error if the reason is a bug of this program. */
  setIgnored(key: LeaseKey, reason: string, fault?: Error): void {
    this.#unreachable.delete(key);
    if (this.#ignored.get(key) === reason) return;
    this.#ignored.set(key, reason);
    this.#warnings.warn({ what: "ignoring lease", name: key, reason, ...(fault && { fault }) });
  }

  setUnreachable(key: LeaseKey, reason: string): void {
    if (this.#unreachable.get(key) === reason) return;
    this.#unreachable.set(key, reason);
    this.#warnings.warn({ what: "no route to lease", name: key, reason });
  }

  /** The peer is in use and has `unreachableReason`, if any, and no other problem. */
  setUsed(key: LeaseKey, unreachableReason: string | undefined): void {
    this.#ignored.delete(key);
    if (unreachableReason === undefined) this.#unreachable.delete(key);
    else this.setUnreachable(key, unreachableReason);
  }

  delete(key: LeaseKey): void {
    this.#ignored.delete(key);
    this.#unreachable.delete(key);
  }

  /** Logs the warnings that are still held back. */
  [Symbol.dispose](): void {
    this.#warnings[Symbol.dispose]();
  }
}
