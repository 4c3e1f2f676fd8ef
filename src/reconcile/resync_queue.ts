/** Which of the kernel's tables must be dumped again, and when. */

import { errorMessage } from "../base/operator_error.ts";
import type { Log } from "../log/log.ts";
import { backoffMs, type Clock } from "../base/clock.ts";

/** Everything, or the routes and the entries on these devices. */
export type ResyncScope = "all" | ReadonlySet<string>;

export interface ResyncQueueOptions {
  readonly clock: Clock;
  readonly log: Log;
  /** Interval between full dumps, plus or minus a tenth. */
  readonly resyncMs: number;
  /** There is something to dump. */
  readonly onWork: () => void;
}

const RETRY = { firstMs: 100, maxMs: 30_000 };

export class ResyncQueue {
  readonly #options: ResyncQueueOptions;
  readonly #clock: Clock;
  #mustDumpAll = true;
  /** Devices whose entries, and the routes, must be dumped. */
  readonly #devices = new Set<string>();
  #notBeforeMs = 0;
  #nextRegularMs = Infinity;
  #failures = 0;
  #hasDumpedAll = false;
  #isVerified = false;

  constructor(options: ResyncQueueOptions) {
    this.#options = options;
    this.#clock = options.clock;
  }

  /** Whether a dump is requested, now or later. */
  get isPending(): boolean {
    return this.#mustDumpAll || this.#devices.size > 0;
  }

  /** Whether a full dump has succeeded at least once. */
  get hasDumpedAll(): boolean {
    return this.#hasDumpedAll;
  }

  /** Whether the last dump succeeded: only then may stale entries be deleted. */
  get isVerified(): boolean {
    return this.#isVerified;
  }

  /** When the next dump is due, in milliseconds of the clock; Infinity for never. */
  get nextMs(): number {
    return this.isPending ? Math.min(this.#nextRegularMs, this.#notBeforeMs) : this.#nextRegularMs;
  }

  /** Requests a full dump. */
  requestAll(): void {
    this.#mustDumpAll = true;
    this.#options.onWork();
  }

  /** Requests a full dump without a delay: nothing in the cache is reliable any more. */
  requestAllNow(): void {
    this.#notBeforeMs = 0;
    this.requestAll();
  }

  /** Requests a dump of the entries on this device, and of the routes, before the next change. */
  request(device: string): void {
    this.#devices.add(device);
    this.#options.onWork();
  }

  /** What must be dumped now, if anything. */
  due(): ResyncScope | undefined {
    const now = this.#clock.nowMs();
    if (now >= this.#nextRegularMs) this.#mustDumpAll = true;
    if (now < this.#notBeforeMs) return undefined;
    if (this.#mustDumpAll) return "all";
    return this.#devices.size > 0 ? new Set(this.#devices) : undefined;
  }

  /** The dump begins: later requests are for the next one. */
  begin(scope: ResyncScope): void {
    if (scope === "all") this.#mustDumpAll = false;
    this.#devices.clear();
  }

  /** Loads the dump. Devices that loading itself requests are up to date if they were dumped. */
  load(wasDumped: (device: string) => boolean, load: () => void): void {
    const requested = [...this.#devices];
    load();
    for (const device of this.#devices) if (wasDumped(device)) this.#devices.delete(device);
    for (const device of requested) this.#devices.add(device);
  }

  succeeded(scope: ResyncScope): void {
    this.#failures = 0;
    this.#notBeforeMs = 0;
    if (scope !== "all") {
      // After a failure, only a full dump verifies the cache.
      if (!this.#isVerified) this.#mustDumpAll = true;
      return;
    }
    this.#isVerified = true;
    this.#hasDumpedAll = true;
    const delayMs = this.#options.resyncMs * (0.9 + this.#clock.random() / 5);
    this.#nextRegularMs = this.#clock.nowMs() + delayMs;
  }

  failed(scope: ResyncScope, error: unknown): void {
    if (scope === "all") this.#mustDumpAll = true;
    else for (const device of scope) this.#devices.add(device);
    this.#isVerified = false;
    this.#postpone(++this.#failures);
    if ((this.#failures & (this.#failures - 1)) === 0) {
      this.#options.log.warn(
        { attempts: this.#failures },
        `${errorMessage(error)}; retrying, no entry is deleted until a dump succeeds`,
      );
    }
  }

  /** Requests a full dump after a delay, which is longer with each failure in a row. */
  requestAllLater(failures: number): void {
    this.#mustDumpAll = true;
    this.#postpone(failures);
  }

  #postpone(failures: number): void {
    this.#notBeforeMs = this.#clock.nowMs() + backoffMs(failures, RETRY, this.#clock);
  }
}
