/**
 * Notifies the store's client of changes to this host's network: addresses, links and routes, except the
 * routes of this program.
 *
 * The start of a container causes some ten notifications, and a router may change a thousand routes per
 * second. So changes are collected and handled at most once a second.
 */

import type { IpAddress } from "../addr/ip.ts";
import { readInterfaces } from "./host_interfaces.ts";
import type { Log } from "../log/log.ts";
import type { Kernel, KernelEvent } from "../kernel/kernel.ts";
import { RTPROT_FLANNEL } from "../state/resource.ts";
import type { HostNetwork } from "../etcd/client/host_network.ts";
import type { Clock } from "../base/clock.ts";

/**
 * Related changes arrive within this time. The random part keeps nodes from connecting to etcd all at once
 * when a router of their network changes.
 */
const GATHER_MS = 100;
const GATHER_SPREAD_MS = 200;
const LOOK_INTERVAL_MS = 1_000;

/** The kernel's answers. */
export function hostNetwork(kernel: Pick<Kernel, "routeTo">): HostNetwork {
  return {
    addresses: async () => {
      const interfaces = await readInterfaces();
      return new Set<IpAddress>(
        interfaces.flatMap(({ addresses }) => addresses.map(({ address }) => address)),
      );
    },
    egressRoute: async (address) => {
      const { link, gateway, source } = await kernel.routeTo(address);
      if (link === undefined) return undefined;
      return { link, ...(gateway && { gateway }), ...(source && { source }) };
    },
  };
}

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
  #isLooking = false;
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
    if (this.#isLooking) {
      this.#hasChanged = true;
      return;
    }
    const { clock } = this.#options;
    const gatherMs = GATHER_MS + clock.random() * GATHER_SPREAD_MS;
    const delayMs = Math.max(gatherMs, this.#lastMs + LOOK_INTERVAL_MS - clock.nowMs());
    this.#timer = clock.setTimer(delayMs, () => void this.#look());
  }

  async #look(): Promise<void> {
    const { clock, onChanged, log } = this.#options;
    this.#timer = undefined;
    this.#lastMs = clock.nowMs();
    this.#isLooking = true;
    try {
      await onChanged();
    } catch (err) {
      // A dead connection is still noticed later, by PING.
      log.debug({ err }, "cannot read this host's network configuration");
    }
    this.#isLooking = false;
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
