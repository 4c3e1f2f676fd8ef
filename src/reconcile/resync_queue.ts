/** Which of the kernel's tables have to be read again, and when. */

import type { Log } from "../log/log.ts";
import { backoffMs, type Clock } from "../base/clock.ts";

/** Everything, or the routes and what is on these devices. */
export type ResyncScope = "all" | ReadonlySet<string>;

export interface ResyncQueueOptions {
  readonly clock: Clock;
  readonly log: Log;
  /** Everything is read again this often, give or take a tenth. */
  readonly everyMs: number;
  /** Told when there is something to read. */
  readonly onWork: () => void;
}

const RETRY = { firstMs: 100, maxMs: 30_000 };

export class ResyncQueue {
  readonly #options: ResyncQueueOptions;
  readonly #clock: Clock;
  #mustDumpAll = true;
  /** Devices whose entries, and the routes, must be read again. */
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

  /** Whether there is something to read, now or later. */
  get isPending(): boolean {
    return this.#mustDumpAll || this.#devices.size > 0;
  }

  /** Whether everything has been read at least once. */
  get hasDumpedAll(): boolean {
    return this.#hasDumpedAll;
  }

  /** Whether the last attempt succeeded: only then may something be deleted for being superfluous. */
  get isVerified(): boolean {
    return this.#isVerified;
  }

  /** When the next reading is due, in milliseconds of the clock; Infinity for never. */
  get nextMs(): number {
    return this.isPending ? Math.min(this.#nextRegularMs, this.#notBeforeMs) : this.#nextRegularMs;
  }

  /** Everything must be read again soon. */
  requestAll(): void {
    this.#mustDumpAll = true;
    this.#options.onWork();
  }

  /** Nothing that is known holds any more: everything is read again at once. */
  requestAllNow(): void {
    this.#notBeforeMs = 0;
    this.requestAll();
  }

  /** The entries on this device, and the routes, must be read before the next change. */
  request(device: string): void {
    this.#devices.add(device);
    this.#options.onWork();
  }

  /** What has to be read now, if anything. */
  due(): ResyncScope | undefined {
    const now = this.#clock.nowMs();
    if (now >= this.#nextRegularMs) this.#mustDumpAll = true;
    if (now < this.#notBeforeMs) return undefined;
    if (this.#mustDumpAll) return "all";
    return this.#devices.size > 0 ? new Set(this.#devices) : undefined;
  }

  /** The reading begins: what is asked for from here on is for the next one. */
  begin(scope: ResyncScope): void {
    if (scope === "all") this.#mustDumpAll = false;
    this.#devices.clear();
  }

  /** Takes over what was read; devices that this itself asks for were read just now. */
  load(wasRead: (device: string) => boolean, takeOver: () => void): void {
    const asked = [...this.#devices];
    takeOver();
    for (const device of this.#devices) if (wasRead(device)) this.#devices.delete(device);
    for (const device of asked) this.#devices.add(device);
  }

  succeeded(scope: ResyncScope): void {
    this.#failures = 0;
    this.#notBeforeMs = 0;
    if (scope !== "all") {
      // A partial reading restores trust only if a full one came before.
      if (!this.#isVerified) this.#mustDumpAll = true;
      return;
    }
    this.#isVerified = true;
    this.#hasDumpedAll = true;
    const delayMs = this.#options.everyMs * (0.9 + this.#clock.random() / 5);
    this.#nextRegularMs = this.#clock.nowMs() + delayMs;
  }

  failed(scope: ResyncScope, error: Error): void {
    if (scope === "all") this.#mustDumpAll = true;
    else for (const device of scope) this.#devices.add(device);
    this.#isVerified = false;
    this.#postpone(++this.#failures);
    if ((this.#failures & (this.#failures - 1)) === 0) {
      this.#options.log.warn(`${error.message}; nothing is deleted until it can be read`);
    }
  }

  /** Everything must be read again, but not at once: later with each failure in a row. */
  requestAllLater(failures: number): void {
    this.#mustDumpAll = true;
    this.#postpone(failures);
  }

  #postpone(failures: number): void {
    this.#notBeforeMs = this.#clock.nowMs() + backoffMs(failures, RETRY, this.#clock);
  }
}
