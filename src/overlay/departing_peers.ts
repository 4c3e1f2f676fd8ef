/**
 * Peers whose lease has just been deleted, and which keep their entries for a grace period.
 *
 * A node whose lease is deleted (by hand, or with everything in the store) writes it again at once:
 * it sees the deletion, reads the key, gets an etcd lease and creates the key. That takes three
 * round trips, some 15 ms on one network and half a second across the world; with Kubernetes, the
 * kubelet has to register the Node again. If its entries were removed in the meantime, packets
 * would be lost. A node that is really gone has been silent for a day, or was removed on purpose,
 * and another second does no harm: no other node uses its subnet without a lease, and such a lease
 * ends the wait.
 */

import { entriesOf, valuesOf } from "../addr/family.ts";
import type { IpAddress } from "../addr/ip.ts";
import type { Clock } from "../base/clock.ts";
import type { Lease, LeaseKey } from "../subnet/lease.ts";
import { PrefixTrie } from "../subnet/prefix_trie.ts";

export const DEPARTURE_MS = 1000;

export interface DepartingPeersOptions {
  readonly clock: Pick<Clock, "nowMs" | "setTimer">;
  /** The grace period of these peers is over; the caller deletes each of them. */
  onDue(keys: readonly LeaseKey[]): void;
}

export class DepartingPeers implements Disposable {
  readonly #options: DepartingPeersOptions;
  /** In the order in which they leave. */
  readonly #departures = new Map<LeaseKey, Departure>();
  readonly #subnets = { 4: new PrefixTrie<Departure>(), 6: new PrefixTrie<Departure>() };
  readonly #byAddress = new Map<IpAddress, Set<Departure>>();
  #timer: Disposable | undefined;
  #isDisposed = false;

  constructor(options: DepartingPeersOptions) {
    this.#options = options;
  }

  get keys(): Iterable<LeaseKey> {
    return this.#departures.keys();
  }

  has(key: LeaseKey): boolean {
    return this.#departures.has(key);
  }

  add(lease: Lease): void {
    this.delete(lease.key);
    const departure = { lease, endMs: this.#options.clock.nowMs() + DEPARTURE_MS };
    this.#departures.set(lease.key, departure);
    for (const [family, subnet] of entriesOf(lease.subnets)) {
      this.#subnets[family].add(subnet, departure);
    }
    for (const address of valuesOf(lease.attributes.publicAddresses)) {
      const others = this.#byAddress.get(address);
      if (others === undefined) this.#byAddress.set(address, new Set([departure]));
      else others.add(departure);
    }
    this.#wait();
  }

  /** Removes one; `undefined` if it is not departing. */
  delete(key: LeaseKey): Lease | undefined {
    const departure = this.#departures.get(key);
    if (departure === undefined) return undefined;
    const { lease } = departure;
    this.#departures.delete(key);
    for (const [family, subnet] of entriesOf(lease.subnets)) {
      this.#subnets[family].delete(subnet, departure);
    }
    for (const address of valuesOf(lease.attributes.publicAddresses)) {
      const others = this.#byAddress.get(address) as Set<Departure>;
      others.delete(departure);
      if (others.size === 0) this.#byAddress.delete(address);
    }
    return lease;
  }

  /**
   * Those that this lease replaces: it has some of their addresses, or belongs to the same node.
   */
  replacedBy({ key, subnets, attributes }: Lease): LeaseKey[] {
    if (this.#departures.size === 0) return [];
    const found = entriesOf(subnets).flatMap(([family, subnet]) =>
      this.#subnets[family].overlapping(subnet)
    );
    for (const address of valuesOf(attributes.publicAddresses)) {
      found.push(...this.#byAddress.get(address) ?? []);
    }
    return [...new Set(found.map(({ lease }) => lease.key))].filter((other) => other !== key);
  }

  /** The peers that are left keep their entries. */
  [Symbol.dispose](): void {
    this.#isDisposed = true;
    this.#timer?.[Symbol.dispose]();
  }

  /** Until the first of them is due. */
  #wait(): void {
    const [first] = this.#departures.values();
    if (first === undefined || this.#timer !== undefined || this.#isDisposed) return;
    const { clock, onDue } = this.#options;
    this.#timer = clock.setTimer(first.endMs - clock.nowMs(), () => {
      this.#timer = undefined;
      onDue(this.#due(clock.nowMs()));
      this.#wait();
    });
  }

  #due(nowMs: number): LeaseKey[] {
    const keys: LeaseKey[] = [];
    for (const [key, { endMs }] of this.#departures) {
      if (endMs > nowMs) break;
      keys.push(key);
    }
    return keys;
  }
}

interface Departure {
  readonly lease: Lease;
  readonly endMs: number;
}
