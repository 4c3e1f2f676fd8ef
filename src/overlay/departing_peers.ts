/**
 * Peers whose lease has just been deleted, and which keep their entries for a grace period.
 *
 * A node whose lease is deleted (by hand, or with everything in etcd) writes it back at once: it sees the
 * deletion, reads the key, gets an etcd lease and creates the key. That takes three round trips, some
 * 15 ms on one network and half a second across the world. If its entries were removed in the meantime,
 * packets would be lost. A node that is really gone has been silent for a day, or was removed on purpose,
 * and another second does no harm: no other node uses its subnet without a lease, which ends the wait.
 */

import { familiesOf } from "../addr/family.ts";
import { FAMILIES, type IpAddress } from "../addr/ip.ts";
import type { Prefix } from "../addr/prefix.ts";
import type { Lease, LeaseKey } from "../subnet/lease.ts";
import { PrefixTrie } from "../subnet/prefix_trie.ts";

export const DEPARTURE_MS = 1000;

export class DepartingPeers {
  /** In the order in which they leave. */
  readonly #departures = new Map<LeaseKey, Departure>();
  readonly #subnets = { 4: new PrefixTrie<Departure>(), 6: new PrefixTrie<Departure>() };
  readonly #byAddress = new Map<IpAddress, Set<Departure>>();

  get size(): number {
    return this.#departures.size;
  }

  /** When the first of them is due; Infinity if there are none. */
  get nextMs(): number {
    const [first] = this.#departures.values();
    return first?.endMs ?? Infinity;
  }

  has(key: LeaseKey): boolean {
    return this.#departures.has(key);
  }

  add(lease: Lease, nowMs: number): void {
    this.delete(lease.key);
    const departure = { lease, endMs: nowMs + DEPARTURE_MS };
    this.#departures.set(lease.key, departure);
    for (const family of familiesOf(lease.subnets)) {
      this.#subnets[family].add(lease.subnets[family] as Prefix, departure);
    }
    for (const address of addressesOf(lease)) {
      const others = this.#byAddress.get(address);
      if (others === undefined) this.#byAddress.set(address, new Set([departure]));
      else others.add(departure);
    }
  }

  /** Removes one; `undefined` if it is not departing. */
  delete(key: LeaseKey): Lease | undefined {
    const departure = this.#departures.get(key);
    if (departure === undefined) return undefined;
    const { lease } = departure;
    this.#departures.delete(key);
    for (const family of familiesOf(lease.subnets)) {
      this.#subnets[family].delete(lease.subnets[family] as Prefix, departure);
    }
    for (const address of addressesOf(lease)) {
      const others = this.#byAddress.get(address);
      others?.delete(departure);
      if (others?.size === 0) this.#byAddress.delete(address);
    }
    return lease;
  }

  /** Those that this lease replaces: it has some of their addresses, or belongs to the same node. */
  replacedBy({ key, subnets, attributes }: Lease): LeaseKey[] {
    if (this.#departures.size === 0) return [];
    const found = familiesOf(subnets).flatMap((family) =>
      this.#subnets[family].overlapping(subnets[family] as Prefix)
    );
    for (const family of FAMILIES) {
      const address = attributes.publicAddresses[family];
      if (address !== undefined) found.push(...this.#byAddress.get(address) ?? []);
    }
    return [...new Set(found.map(({ lease }) => lease.key))].filter((other) => other !== key);
  }

  /** Those whose grace period is over. */
  due(nowMs: number): LeaseKey[] {
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

function addressesOf({ attributes: { publicAddresses } }: Lease): IpAddress[] {
  return familiesOf(publicAddresses).map((family) => publicAddresses[family] as IpAddress);
}
