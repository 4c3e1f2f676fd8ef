/**
 * The accepted leases of the other nodes.
 *
 * Every event of the store goes through `apply`, which returns what changed among them. A lease
 * that is invalid, or that overlaps an older valid one, is rejected with the reason, and accepted
 * as soon as the reason is gone. This node's own lease never appears.
 */

import { entriesOf, familiesOf, mapFamilies, type PerFamily } from "../addr/family.ts";
import { type Family, familyOf } from "../addr/ip.ts";
import type { ExcludedAddress } from "../addr/excluded_address.ts";
import { hostPrefix, type Prefix } from "../addr/prefix.ts";
import { lowerBound } from "../base/binary_search.ts";
import { columnFor } from "../base/column.ts";
import { forEachWithMinorGc } from "../base/for_each_with_minor_gc.ts";
import type { InvalidLease, Lease, LeaseKey, LeaseWatch } from "./lease.ts";
import { failedLease, isInvalidLease } from "./lease_codec.ts";
import { LeaseRows } from "./lease_rows.ts";
import { containExcluded, type ValidationRules, whyInvalid } from "./lease_validation.ts";
import { PrefixTrie } from "./prefix_trie.ts";

export type LeaseChange =
  /** A new lease, or new attributes of the lease `previous`. */
  | { readonly kind: "put"; readonly lease: Lease; readonly previous?: Lease }
  | {
    readonly kind: "delete";
    readonly lease: Lease;
    /** The lease may no longer be used: it is rejected, or has other subnets from now on. */
    readonly isRejected?: true;
  };

export interface LeaseTableOptions extends ValidationRules {
  /** Called once for each key and reason. */
  onRejected(rejected: InvalidLease): void;
  /** A number in [0, 1), for the hashes of keys. */
  readonly seed: number;
}

export class LeaseTable {
  readonly #options: LeaseTableOptions;
  #rules: ValidationRules;
  /** Valid leases, regardless of the others. */
  readonly #candidates: LeaseRows;
  /** By row: 1 if no older accepted candidate claims any of its addresses. */
  #isAccepted = new Uint8Array();
  /** The rows of the candidates by subnet. */
  readonly #claims: Readonly<Record<Family, PrefixTrie<number>>> = {
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
    this.#candidates = new LeaseRows(options.seed);
  }

  /** The accepted leases, without the families that the network does not have. */
  get leases(): ReadonlyMap<LeaseKey, Lease> {
    const accepted = this.#candidates.rows().filter((row) => this.#isAccepted[row] === 1);
    const leases = accepted.map((row) => this.#candidates.at(row));
    return new Map(leases.map((lease) => [lease.key, lease]));
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
      const affected = [
        ...holders.map((row) => this.#candidates.at(row)),
        ...this.#excluded.values(),
      ];
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
    const unsettled = new Set<number>();
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
        const candidates = this.#candidates.rows().map((row) => this.#candidates.keyAt(row));
        const known = [...candidates, ...this.#rejected.keys()];
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

  #put(given: Lease | InvalidLease, unsettled: Set<number>): void {
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
    const lease = this.#configuredFamilies(given as Lease);
    const known = this.#candidates.find(lease.key);
    if (known !== undefined) {
      const { created, subnets } = this.#candidates.at(known);
      if (created === lease.created && sameSubnets({ subnets }, lease)) {
        this.#candidates.replace(known, lease);
        return;
      }
      this.#removeRow(known, unsettled);
    }
    const row = this.#candidates.add(lease);
    this.#isAccepted = columnFor(this.#isAccepted, row);
    for (const [family, subnet] of entriesOf(lease.subnets)) this.#claims[family].add(subnet, row);
    unsettled.add(row);
  }

  #whyRejected(given: Lease | InvalidLease): InvalidLease | undefined {
    if (isInvalidLease(given)) return given;
    const reason = whyInvalid(given, this.#rules);
    return reason === undefined ? undefined : { key: given.key, reason };
  }

  #remove(key: LeaseKey, unsettled: Set<number>): void {
    const row = this.#candidates.find(key);
    if (row !== undefined) this.#removeRow(row, unsettled);
  }

  #removeRow(row: number, unsettled: Set<number>): void {
    const { subnets } = this.#candidates.at(row);
    unsettled.delete(row);
    for (const [family, subnet] of entriesOf(subnets)) this.#claims[family].delete(subnet, row);
    // Thousands of leases may claim one subnet; only the accepted one excludes the others.
    if (this.#isAccepted[row] === 1) this.#rivals(subnets).forEach((one) => unsettled.add(one));
    this.#isAccepted[row] = 0;
    this.#candidates.delete(row);
  }

  /**
   * Decides which candidates are accepted. That depends only on older ones, so each is decided
   * once if the order is from old to young.
   */
  #settle(unsettled: ReadonlySet<number>, touch: (key: LeaseKey) => void): void {
    const queue: Candidate[] = [];
    forEachWithMinorGc(unsettled, (row) => queue.push(this.#candidateAt(row)));
    queue.sort(byAge);
    // The queue may grow, behind the candidate that is being decided.
    forEachWithMinorGc(queue, (candidate) => {
      const { key, row } = candidate;
      const rivals = this.#rivals(this.#candidates.at(row).subnets);
      const winner = rivals.filter((rival) => this.#isAccepted[rival] === 1 && rival !== row)
        .map((rival) => this.#candidateAt(rival)).find((rival) => isOlder(rival, candidate));
      const isAccepted = winner === undefined;
      touch(key);
      if (isAccepted) this.#rejected.delete(key);
      else this.#reject(overlap(key, winner));
      if (this.#isAccepted[row] === Number(isAccepted)) return;
      this.#isAccepted[row] = Number(isAccepted);
      const younger = rivals.filter((rival) => rival !== row)
        .map((rival) => this.#candidateAt(rival)).filter((rival) => isOlder(candidate, rival));
      younger.forEach((rival) => insertByAge(queue, rival));
    });
  }

  /** The rows of candidates that overlap these subnets, once for each family. */
  #rivals(subnets: PerFamily<Prefix>): number[] {
    return entriesOf(subnets).flatMap(([family, subnet]) =>
      this.#claims[family].overlapping(subnet)
    );
  }

  /** With the age of its lease, which would otherwise be decoded for each comparison. */
  #candidateAt(row: number): Candidate {
    const { key, created } = this.#candidates.at(row);
    return { row, key, created };
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
    const row = this.#candidates.find(key);
    const isAccepted = row !== undefined && this.#isAccepted[row] === 1;
    return isAccepted ? this.#candidates.at(row) : undefined;
  }

  /** What is different from `before`, deletions first. */
  #changes(before: ReadonlyMap<LeaseKey, Lease | undefined>): LeaseChange[] {
    const deletes: LeaseChange[] = [];
    const puts: LeaseChange[] = [];
    forEachWithMinorGc(before, ([key, previous]) => {
      const lease = this.#accepted(key);
      if (lease === undefined) {
        if (previous === undefined) return;
        const isRejected = this.#rejected.has(key);
        deletes.push({ kind: "delete", lease: previous, ...(isRejected && { isRejected }) });
      } else if (previous === undefined) {
        puts.push({ kind: "put", lease });
      } else if (!sameSubnets(previous, lease)) {
        // Created again with other subnets: another lease, which only has the same key.
        deletes.push({ kind: "delete", lease: previous, isRejected: true });
        puts.push({ kind: "put", lease });
      } else if (!sameAttributes(previous, lease)) {
        puts.push({ kind: "put", lease, previous });
      }
    });
    return [...deletes, ...puts];
  }
}

/** A lease that is valid regardless of the others. */
interface Candidate extends Pick<Lease, "key" | "created"> {
  readonly row: number;
}

/**
 * How many rejections are remembered, so that each is reported once. With more, some are reported
 * again.
 */
const MAX_REPORTED = 65_536;

type Subnets = Pick<Lease, "subnets">;

function sameSubnets({ subnets: a }: Subnets, { subnets: b }: Subnets): boolean {
  return a[4] === b[4] && a[6] === b[6];
}

function sameAttributes(a: Lease, b: Lease): boolean {
  return JSON.stringify(a.attributes) === JSON.stringify(b.attributes);
}

function overlap(key: LeaseKey, older: Candidate): InvalidLease {
  return { key, reason: `its subnet overlaps that of the older lease ${older.key}` };
}

function byAge(a: Candidate, b: Candidate): number {
  return isOlder(a, b) ? -1 : 1;
}

function isOlder(a: Candidate, b: Candidate): boolean {
  return a.created === b.created ? a.key < b.key : a.created < b.created;
}

/** Inserts a candidate into the sorted queue, unless it is there. */
function insertByAge(queue: Candidate[], candidate: Candidate): void {
  const index = lowerBound(queue.length, (i) => !isOlder(queue[i] as Candidate, candidate));
  if (queue[index]?.row !== candidate.row) queue.splice(index, 0, candidate);
}
