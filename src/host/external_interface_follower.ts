/** Follows the external interface: checks it again whenever it may have changed. */

import type { Clock } from "../base/clock.ts";
import { type PerFamily, valuesOf } from "../addr/family.ts";
import type { GivenAddress } from "../addr/given_address.ts";
import { prefixLength } from "../addr/prefix.ts";
import { SerialQueue } from "../base/serial_queue.ts";
import type { Kernel, KernelEvent } from "../kernel/kernel.ts";
import type { Log } from "../log/log.ts";
import { RepeatedFailure } from "../log/repeated_failure.ts";
import type { ExternalInterface } from "./external_interface.ts";
import type { HostInterface } from "./host_interface.ts";
import { updatedInterface } from "./updated_interface.ts";

export interface ExternalInterfaceFollowerOptions {
  /** As it was chosen. */
  readonly external: ExternalInterface;
  /** Addresses to advertise instead of the interface's own. */
  readonly given: PerFamily<GivenAddress>;
  readonly readInterfaces: () => Promise<readonly HostInterface[]>;
  readonly kernel: Pick<Kernel, "watch">;
  /** Why the overlay cannot use the interface; see `Backend.externalProblem`. */
  readonly problemOf: (external: ExternalInterface) => string | undefined;
  /** The name, the MTU or an address changed. */
  readonly onChanged: (external: ExternalInterface) => Promise<void>;
  /** Called after each check that `checkSoon` caused: the host's routes may have changed, too. */
  readonly onChecked?: (external: ExternalInterface) => Promise<void>;
  readonly clock: Clock;
  readonly log: Log;
}

/** One change causes several notifications: a check waits until they pause, up to a limit. */
const QUIET_MS = 200;
const QUIET_MAX_MS = 1000;
const RETRY_MS = 5000;

export class ExternalInterfaceFollower implements AsyncDisposable {
  readonly #options: ExternalInterfaceFollowerOptions;
  readonly #failure: RepeatedFailure;
  readonly #checks = new SerialQueue();
  readonly #subscription: Disposable;
  #external: ExternalInterface;
  #problem: string | undefined;
  #isReporting = false;
  /** When the first notification since the last check arrived. */
  #notifiedMs: number | undefined;
  #timer: Disposable | undefined;
  #isStopped = false;

  /** Throws `KernelError`. */
  constructor(options: ExternalInterfaceFollowerOptions) {
    const { external, kernel, clock, log } = options;
    this.#options = options;
    this.#external = external;
    const what = "following the external interface";
    this.#failure = new RepeatedFailure({ log, what, clock });
    this.#subscription = kernel.watch((event) => {
      if (mayConcern(event, this.#external)) this.checkSoon();
    });
  }

  /** As it was when it was last usable. */
  get external(): ExternalInterface {
    return this.#external;
  }

  /** Why it cannot be used now. */
  get problem(): string | undefined {
    return this.#problem;
  }

  /** From now on, problems are logged when they occur and when they are resolved. */
  startReporting(): void {
    this.#isReporting = true;
  }

  /** The interface may have changed. May be called often. */
  checkSoon(): void {
    const now = this.#options.clock.nowMs();
    this.#notifiedMs ??= now;
    this.#checkAfter(Math.min(QUIET_MS, Math.max(0, this.#notifiedMs + QUIET_MAX_MS - now)));
  }

  /** Checks the interface after earlier checks; whether it has changed. Throws `KernelError`. */
  check(): Promise<boolean> {
    return this.#checks.run(() => this.#checkNow());
  }

  /** Waits for a check that is running. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#isStopped = true;
    this.#subscription[Symbol.dispose]();
    this.#timer?.[Symbol.dispose]();
    await this.#checks.idle();
  }

  #checkAfter(delayMs: number): void {
    if (this.#isStopped) return;
    this.#timer?.[Symbol.dispose]();
    this.#timer = this.#options.clock.setTimer(delayMs, () => {
      this.#notifiedMs = undefined;
      this.check().then(() => this.#options.onChecked?.(this.#external)).then(
        () => this.#failure.succeeded(),
        (error: unknown) => {
          this.#failure.failed(error);
          // A notification since then has set an earlier timer.
          if (this.#notifiedMs === undefined) this.#checkAfter(RETRY_MS);
        },
      );
    });
  }

  async #checkNow(): Promise<boolean> {
    const { readInterfaces, given, onChanged, log } = this.#options;
    const interfaces = await readInterfaces();
    const before = this.#external;
    const next = updatedInterface(before, { interfaces, given });
    this.#report(next);
    if (typeof next === "string" || JSON.stringify(before) === JSON.stringify(next)) return false;
    if (next.name !== before.name) {
      log.warn(`interface ${before.name} was renamed to ${next.name}`);
    }
    const [was, is] = [describe(before), describe(next)];
    if (was !== is) log.warn(`interface ${next.name} changed from ${was} to ${is}`);
    this.#external = next;
    await onChanged(next);
    return true;
  }

  /** `next` is the interface, or why there is none. */
  #report(next: ExternalInterface | string): void {
    const { problemOf, log } = this.#options;
    const isLost = typeof next === "string";
    const problem = isLost ? next : problemOf(next);
    if (problem === this.#problem) return;
    this.#problem = problem;
    if (!this.#isReporting) return;
    if (problem === undefined) {
      log.info(`interface ${this.#external.name} can be used again`);
    } else {
      log.warn(isLost ? `${problem}; waiting for it to come back` : problem);
    }
  }
}

/**
 * The reconciler reports changes of the external interface only, but a public address may be on any
 * interface, and the gateway, which no node's subnet may contain, behind any.
 */
function mayConcern(event: KernelEvent, { publicAddresses }: ExternalInterface): boolean {
  if (event.kind === "overrun") return true;
  const { resource } = event;
  switch (resource.kind) {
    case "address":
      return valuesOf(publicAddresses).includes(resource.address);
    case "route":
      return prefixLength(resource.destination) === 0;
    default:
      return false;
  }
}

function describe({ mtuBytes, addresses, sourceAddresses }: ExternalInterface): string {
  const [own, source] = [addresses, sourceAddresses].map((some) => valuesOf(some).join(" and "));
  return `${own}${source === own ? "" : `, packets from ${source}`}, MTU ${mtuBytes}`;
}
