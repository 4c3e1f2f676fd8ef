/** Looks at the external interface again whenever something about it may have changed. */

import type { PerFamily } from "../addr/family.ts";
import type { IpAddress } from "../addr/ip.ts";
import type { ExternalInterface } from "./external_interface.ts";
import { followInterface } from "./follow_interface.ts";
import type { HostInterface } from "./interface_selection.ts";
import type { Log } from "../log/log.ts";
import { RepeatedFailure } from "../log/repeated_failure.ts";
import type { Clock } from "../base/clock.ts";

export interface ExternalInterfaceFollowerOptions {
  /** As it was chosen. */
  readonly external: ExternalInterface;
  /** Addresses to advertise instead of the interface's. */
  readonly given: PerFamily<IpAddress>;
  readonly read: () => Promise<readonly HostInterface[]>;
  /** Why the overlay cannot be as it should over it; see `Backend.externalProblem`. */
  readonly whyUnsuitable: (external: ExternalInterface) => string | undefined;
  /** It has another MTU or other addresses; `external` is as it is now. */
  readonly onChanged: (external: ExternalInterface) => Promise<void>;
  /** Called after each check that a hint has caused: what else depends on the interface may have changed. */
  readonly onHinted?: (external: ExternalInterface) => Promise<void>;
  readonly clock: Clock;
  readonly log: Log;
}

/** Several notifications come with one change: until there is quiet, but not for ever. */
const QUIET_MS = 200;
const QUIET_MAX_MS = 1000;
const RETRY_MS = 5000;

export class ExternalInterfaceFollower implements AsyncDisposable {
  readonly #options: ExternalInterfaceFollowerOptions;
  readonly #failure: RepeatedFailure;
  #external: ExternalInterface;
  #problem: string | undefined;
  #isReporting = false;
  /** The first hint since the last look. */
  #hintedMs: number | undefined;
  #timer: Disposable | undefined;
  #looking: Promise<unknown> = Promise.resolve();
  #isStopped = false;

  constructor(options: ExternalInterfaceFollowerOptions) {
    const { external, clock, log } = options;
    this.#options = options;
    this.#external = external;
    const what = "following the external interface";
    this.#failure = new RepeatedFailure({ log, what, nowMs: () => clock.nowMs() });
  }

  /** As it was when it could last be used. */
  get external(): ExternalInterface {
    return this.#external;
  }

  /** Why it cannot be used at present. */
  get problem(): string | undefined {
    return this.#problem;
  }

  /** From now on, problems that come and go are told in the log. */
  startReporting(): void {
    this.#isReporting = true;
  }

  /** Something may have changed. May be called often. */
  lookSoon(): void {
    const now = this.#options.clock.nowMs();
    this.#hintedMs ??= now;
    this.#lookAfter(Math.min(QUIET_MS, Math.max(0, this.#hintedMs + QUIET_MAX_MS - now)));
  }

  /** Looks when the looks before have ended. Whether it is another than before; throws `KernelError`. */
  look(): Promise<boolean> {
    const look = this.#looking.then(() => this.#lookNow());
    this.#looking = look.catch(() => undefined);
    return look;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#isStopped = true;
    this.#timer?.[Symbol.dispose]();
    await this.#looking;
  }

  #lookAfter(delayMs: number): void {
    if (this.#isStopped) return;
    this.#timer?.[Symbol.dispose]();
    this.#timer = this.#options.clock.setTimer(delayMs, () => {
      this.#hintedMs = undefined;
      this.look().then(() => this.#options.onHinted?.(this.#external)).then(
        () => this.#failure.succeeded(),
        (error: unknown) => {
          this.#failure.failed(error);
          // A hint since then comes sooner.
          if (this.#hintedMs === undefined) this.#lookAfter(RETRY_MS);
        },
      );
    });
  }

  async #lookNow(): Promise<boolean> {
    const { read, given, onChanged, log } = this.#options;
    const interfaces = await read();
    const before = this.#external;
    const next = followInterface(before, { interfaces, given });
    this.#report(next);
    if (typeof next === "string" || JSON.stringify(before) === JSON.stringify(next)) return false;
    if (next.name !== before.name) log.warn(`interface ${before.name} is ${next.name} now`);
    const [was, is] = [describe(before), describe(next)];
    if (was !== is) log.warn(`interface ${next.name} changed from ${was} to ${is}`);
    this.#external = next;
    await onChanged(next);
    return true;
  }

  /** `next` is the interface as it is, or why there is none. */
  #report(next: ExternalInterface | string): void {
    const { whyUnsuitable, log } = this.#options;
    const hasGone = typeof next === "string";
    const problem = hasGone ? next : whyUnsuitable(next);
    if (problem === this.#problem) return;
    this.#problem = problem;
    if (!this.#isReporting) return;
    if (problem === undefined) {
      log.info(`interface ${this.#external.name} can be used again`);
    } else {
      log.warn(hasGone ? `${problem}; waiting for it to come back` : problem);
    }
  }
}

function describe({ mtuBytes, addresses, sourceAddresses }: ExternalInterface): string {
  const [own, source] = [addresses, sourceAddresses].map((some) => textOf(some));
  return `${own}${source === own ? "" : `, packets from ${source}`}, MTU ${mtuBytes}`;
}

function textOf(addresses: PerFamily<IpAddress>): string {
  return Object.values(addresses).join(" and ");
}
