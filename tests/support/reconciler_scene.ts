/**
 * A reconciler on a fake kernel and a fake clock, with a small vxlan network: node 1 is this
 * host, and node n has the subnet 10.5.n.0/24 and the public address 192.168.0.n.
 */

import { Reconciler } from "../../src/reconcile/reconciler.ts";
import { resourceKey } from "../../src/state/resource_key.ts";
import { resourceText } from "../../src/state/resource_text.ts";
import type { Resource, ResourceKey } from "../../src/state/resource.ts";
import { sameResource } from "../../src/state/same_resource.ts";
import {
  address,
  fdb,
  neighbour,
  OWNERSHIP,
  tunnelRoute,
  tunnelRouteV6,
  UNDERLAY,
  vxlanDevice,
} from "./arbitrary_state.ts";
import { computedAgain } from "./computed_again.ts";
import { FakeClock } from "./fake_clock.ts";
import { FakeKernel } from "./fake_kernel.ts";
import { collectingLog } from "./collecting_log.ts";

/** The node's own entries: a device for each family and an address. */
export const NODE_ENTRIES: readonly Resource[] = [
  vxlanDevice("flannel.1"),
  vxlanDevice("flannel-v6.1"),
  address(1),
];

/** The entries of one peer, with the MAC address number `macNumber` and the public address `at`. */
export function peerOf(n: number, { macNumber = n, at = n } = {}): Resource[] {
  return [neighbour(n, macNumber), fdb(macNumber, at), tunnelRoute(n), tunnelRouteV6(n)];
}

const UNDERLAY_KEYS: ReadonlySet<ResourceKey> = new Set(UNDERLAY.map(resourceKey));

export class ReconcilerScene implements AsyncDisposable {
  readonly kernel = new FakeKernel();
  readonly clock = new FakeClock(() => 0.5);
  readonly logged = collectingLog();
  readonly reconciler = new Reconciler({
    kernel: this.kernel,
    log: this.logged.log,
    clock: this.clock,
  });
  readonly #desired = new Map<string, readonly Resource[]>();
  #precedence = 0n;

  constructor() {
    this.kernel.seed(...UNDERLAY);
  }

  start(): void {
    this.reconciler.start({ ownership: OWNERSHIP, external: "eth0" });
  }

  /** Replaces what the owner desires; nothing is desired any more if there are no entries. */
  desire(owner: string, entries: readonly Resource[]): void {
    this.#desired.set(owner, entries);
    const precedence = ++this.#precedence;
    const source = owner === "node" ? undefined : computedAgain(owner, entries, precedence);
    this.reconciler.setDesired(owner, entries, precedence, source);
  }

  /** Everything that is desired. */
  get desired(): Resource[] {
    return [...this.#desired.values()].flat();
  }

  /** All of the kernel's entries except those of the underlay, as sorted text. */
  kernelText(): string {
    return this.kernel.text((resource) => !UNDERLAY_KEYS.has(resourceKey(resource)));
  }

  /** What the kernel lacks, holds differently, or holds in addition; empty if it is in sync. */
  differences(extra: readonly Resource[] = []): string[] {
    const expected = new Map([...this.desired, ...extra].map((one) => [resourceKey(one), one]));
    const found: string[] = [];
    for (const [key, resource] of expected) {
      const actual = this.kernel.table.get(key);
      if (actual === undefined) found.push(`lacks ${resourceText(resource)}`);
      else if (!sameResource(resource, actual)) found.push(`has ${resourceText(actual)}`);
    }
    for (const [key, resource] of this.kernel.table) {
      if (!expected.has(key) && !UNDERLAY_KEYS.has(key)) {
        found.push(`has in addition ${resourceText(resource)}`);
      }
    }
    return found;
  }

  /** Whether no work is pending, successful or not. */
  async isSettled(): Promise<boolean> {
    let isSettled = false;
    void this.reconciler.whenSettled().then(() => isSettled = true);
    await Promise.resolve();
    return isSettled;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.reconciler[Symbol.asyncDispose]();
  }
}
