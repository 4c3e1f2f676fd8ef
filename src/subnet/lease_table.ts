/**
 * The accepted leases of the other nodes.
 *
 * Every event of the store goes through `apply`, which returns what changed among them. A lease
 * that is invalid, or that overlaps an older valid one, is rejected with the reason, and accepted
 * as soon as the reason is gone. This node's own lease never appears.
 */

import { entriesOf, familiesOf, mapFamilies } from "../addr/family.ts";
import { type Family, familyOf } from "../addr/ip.ts";
import type { ExcludedAddress } from "../addr/excluded_address.ts";
import { hostPrefix } from "../addr/prefix.ts";
import { lowerBound } from "../base/binary_search.ts";
import { forEachWithMinorGc } from "../base/for_each_with_minor_gc.ts";
import type { InvalidLease, Lease, LeaseKey, LeaseWatch } from "./lease.ts";
import { failedLease, isInvalidLease } from "./lease_codec.ts";
import { containExcluded, type ValidationRules, whyInvalid } from "./lease_validation.ts";
import { packLease } from "./packed_lease.ts";
import { PrefixTrie } from "./prefix_trie.ts";

export type LeaseChange =
  /** A new lease, or new attributes of the lease `previous`. */
  | { readonly kind: "put"; readonly lease: Lease; readonly previous?: Lease }
  | {
    readonly kind: "delete";
    readonly lease: Lease;
    /** The lease may not be used any more: it is rejected, or has other subnets from now on. */
    readonly isRejected?: true;
  };

export interface LeaseTableOptions extends ValidationRules {
  /** Called once for each key and reason. */
  onRejected(rejected: InvalidLease): void;
}

export class LeaseTable {
  readonly #options: LeaseTableOptions;
  #rules: ValidationRules;
  /** Valid leases, regardless of the others. */
  readonly #candidates = new Map<LeaseKey, Candidate>();
  /** The candidates by subnet. */
  readonly #claims: Readonly<Record<Family, PrefixTrie<Candidate>>> = {
    4: new PrefixTrie(),
    6: new PrefixTrie(),
  };
  readonly #rejected = new Map<LeaseKey, string>();
  /** Rejected leases whose subnet contains an excluded address; those addresses may change. */
  readonly #excluded = new Map<LeaseKey, Lease>();
  readonly #reported = new Set<string>();

  constructor(options: LeaseTableOptions) {
    this.#options = options;
    this.#rules = options;
  }

  /** The accepted leases, without the families that the network does not have. */
  get leases(): ReadonlyMap<LeaseKey, Lease> {
    const accepted = [...this.#candidates].filter(([, candidate]) => candidate.accepted);
    return new Map(accepted.map(([key, { lease }]) => [key, lease]));
  }

  /** The rejected leases, with the reason. */
  get rejected(): ReadonlyMap<LeaseKey, string> {
    return this.#rejected;
  }

  /**
   * Applies an event and returns what it changed in `leases`, deletions first. A lease that is
   * written again with the same attributes, as by a renewal, changes nothing.
   */
  apply(event: LeaseWatch): LeaseChange[] {
    return this.#change(({ put, remove }) => this.#take(event, put, remove));
  }

  /** From now on, no subnet may contain these addresses. Returns the changes of `leases`. */
  setExcluded(excluded: readonly ExcludedAddress[]): LeaseChange[] {
    this.#rules = { ...this.#options, excluded };
    return this.#change(({ put }) => {
      const holders = excluded.flatMap(({ address }) => {
        const family = familyOf(address);
        return this.#claims[family].overlapping(hostPrefix(address));
      });
      const affected = [...holders.map(({ lease }) => lease), ...this.#excluded.values()];
      affected.forEach((lease) => put(lease));
    });
  }

  /** Runs `work`, settles conflicts between leases, and returns the changes. */
  #change(
    work: (change: {
      put: (lease: Lease | InvalidLease) => void;
      remove: (key: LeaseKey) => void;
    }) => void,
  ): LeaseChange[] {
    const unsettled = new Set<Candidate>();
    const before = new Map<LeaseKey, Lease | undefined>();
    const touch = (key: LeaseKey) => before.has(key) || before.set(key, this.#accepted(key));
    const put = (lease: Lease | InvalidLease) => {
      if (lease.key === this.#options.own.key) return;
      touch(lease.key);
      try {
        this.#put(lease, unsettled);
      } catch (error) {
        this.#put(failedLease(lease.key, error), unsettled);
      }
    };
    const remove = (key: LeaseKey) => {
      touch(key);
      this.#remove(key, unsettled);
      this.#rejected.delete(key);
      this.#excluded.delete(key);
    };
    work({ put, remove });
    this.#settle(unsettled, touch);
    return this.#changes(before);
  }

  #take(
    event: LeaseWatch,
    put: (lease: Lease | InvalidLease) => void,
    remove: (key: LeaseKey) => void,
  ): void {
    switch (event.kind) {
      case "snapshot": {
        const present = new Set([...event.leases, ...event.invalid].map(({ key }) => key));
        const known = [...this.#candidates.keys(), ...this.#rejected.keys()];
        known.filter((key) => !present.has(key)).forEach(remove);
        forEachWithMinorGc(event.leases, put);
        event.invalid.forEach(put);
        break;
      }
      case "put":
        put(event.lease);
        break;
      case "invalid":
        put(event.invalid);
        break;
      case "delete":
        remove(event.key);
    }
  }

  #put(given: Lease | InvalidLease, unsettled: Set<Candidate>): void {
    this.#excluded.delete(given.key);
    const rejected = this.#whyRejected(given);
    if (rejected !== undefined) {
      if (!isInvalidLease(given) && containExcluded(given.subnets, this.#rules.excluded)) {
        this.#excluded.set(given.key, given);
      }
      this.#remove(given.key, unsettled);
      this.#reject(rejected);
      return;
    }
    const lease = packLease(this.#configuredFamilies(given as Lease));
    const known = this.#candidates.get(lease.key);
    if (known?.lease.created === lease.created && sameSubnets(known.lease, lease)) {
      known.lease = lease;
      return;
    }
    this.#remove(lease.key, unsettled);
    const candidate = { lease, accepted: false };
    this.#candidates.set(lease.key, candidate);
    for (const [family, subnet] of entriesOf(lease.subnets)) {
      this.#claims[family].add(subnet, candidate);
    }
    unsettled.add(candidate);
  }

  #whyRejected(given: Lease | InvalidLease): InvalidLease | undefined {
    if (isInvalidLease(given)) return given;
    const reason = whyInvalid(given, this.#rules);
    return reason === undefined ? undefined : { key: given.key, reason };
  }

  #remove(key: LeaseKey, unsettled: Set<Candidate>): void {
    const candidate = this.#candidates.get(key);
    if (candidate === undefined) return;
    this.#candidates.delete(key);
    unsettled.delete(candidate);
    for (const [family, subnet] of entriesOf(candidate.lease.subnets)) {
      this.#claims[family].delete(subnet, candidate);
    }
    // Thousands of leases may claim one subnet; only the accepted one excludes the others.
    if (candidate.accepted) this.#rivals(candidate).forEach((rival) => unsettled.add(rival));
  }

  /**
   * Decides which candidates are accepted. That depends only on older ones, so each is decided
   * once if the order is from old to young.
   */
  #settle(unsettled: Set<Candidate>, touch: (key: LeaseKey) => void): void {
    const queue = sortedByAge(unsettled);
    for (let i = 0; i < queue.length; i++) {
      const candidate = queue[i] as Candidate;
      const { key } = candidate.lease;
      const rivals = this.#rivals(candidate);
      const winner = rivals.find((rival) => rival.accepted && isOlder(rival, candidate));
      touch(key);
      if (winner === undefined) {
        this.#rejected.delete(key);
      } else {
        const reason = `its subnet overlaps that of the older lease ${winner.lease.key}`;
        this.#reject({ key, reason });
      }
      if (candidate.accepted === (winner === undefined)) continue;
      candidate.accepted = winner === undefined;
      const younger = rivals.filter((rival) => isOlder(candidate, rival));
      younger.forEach((rival) => insertByAge(queue, rival));
    }
  }

  /** The candidates that overlap this one, once for each family. The result may contain it. */
  #rivals(candidate: Candidate): Candidate[] {
    return entriesOf(candidate.lease.subnets).flatMap(([family, subnet]) =>
      this.#claims[family].overlapping(subnet)
    );
  }

  #configuredFamilies(lease: Lease): Lease {
    const { families } = this.#options.config;
    if (familiesOf(lease.subnets).every((family) => families[family])) return lease;
    const subnets = mapFamilies(
      lease.subnets,
      (subnet, family) => families[family] ? subnet : undefined,
    );
    return { ...lease, subnets };
  }

  #reject(rejected: InvalidLease): void {
    const { key, reason } = rejected;
    this.#rejected.set(key, reason);
    const report = `${key} ${reason}`;
    if (this.#reported.has(report)) return;
    if (this.#reported.size >= MAX_REPORTED) this.#reported.clear();
    this.#reported.add(report);
    this.#options.onRejected(rejected);
  }

  /** The accepted lease with this key. */
  #accepted(key: LeaseKey): Lease | undefined {
    const candidate = this.#candidates.get(key);
    return candidate?.accepted ? candidate.lease : undefined;
  }

  /** What is different from `before`, deletions first. */
  #changes(before: ReadonlyMap<LeaseKey, Lease | undefined>): LeaseChange[] {
    const deletes: LeaseChange[] = [];
    const puts: LeaseChange[] = [];
    for (const [key, previous] of before) {
      const lease = this.#accepted(key);
      if (lease === undefined) {
        if (previous === undefined) continue;
        const isRejected = this.#rejected.has(key);
        deletes.push({ kind: "delete", lease: previous, ...(isRejected && { isRejected }) });
      } else if (previous === undefined) {
        puts.push({ kind: "put", lease });
      } else if (!sameSubnets(previous, lease)) {
        // Created again with other subnets: to those who use it, another lease of the same name.
        deletes.push({ kind: "delete", lease: previous, isRejected: true });
        puts.push({ kind: "put", lease });
      } else if (!sameAttributes(previous, lease)) {
        puts.push({ kind: "put", lease, previous });
      }
    }
    return [...deletes, ...puts];
  }
}

interface Aged {
  readonly lease: Pick<Lease, "created" | "key">;
}

interface Candidate {
  lease: Lease;
  /** No older accepted candidate claims any of its addresses. */
  accepted: boolean;
}

/**
 * How many rejections are remembered, so that each is reported once. With more, some are reported
 * again.
 */
const MAX_REPORTED = 65_536;

function sameSubnets({ subnets: a }: Lease, { subnets: b }: Lease): boolean {
  return a[4] === b[4] && a[6] === b[6];
}

function sameAttributes(a: Lease, b: Lease): boolean {
  return JSON.stringify(a.attributes) === JSON.stringify(b.attributes);
}

/** Reads the age of each candidate once: a packed lease computes it. */
function sortedByAge(candidates: Iterable<Candidate>): Candidate[] {
  const aged = [...candidates].map((candidate) => {
    const { created, key } = candidate.lease;
    return { candidate, lease: { created, key } };
  });
  return aged.sort((a, b) => isOlder(a, b) ? -1 : 1).map(({ candidate }) => candidate);
}

function isOlder(a: Aged, b: Aged): boolean {
  const [x, y] = [a.lease, b.lease];
  return x.created === y.created ? x.key < y.key : x.created < y.created;
}

/** Inserts a candidate into the sorted queue, unless it is there. */
function insertByAge(queue: Candidate[], candidate: Candidate): void {
  const index = lowerBound(queue.length, (i) => !isOlder(queue[i] as Candidate, candidate));
  if (queue[index] !== candidate) queue.splice(index, 0, candidate);
}
