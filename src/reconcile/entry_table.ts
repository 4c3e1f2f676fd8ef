/**
 * Every entry that is desired, or that the kernel holds and is ours. One record has both sides:
 * what is desired, by which owner, and what the kernel holds as far as known.
 *
 * Several owners may desire one key, although backends prevent it for peers. The claim with the
 * highest precedence wins; when it is withdrawn, the next one takes its place.
 *
 * Nearly all entries are settled: desired by one owner, and the kernel holds them. The record of
 * such an entry contains nothing that its owner does not know. If the owner has a source of its
 * entries, the record is dropped, and made again on demand (docs/adr/0014).
 */

import type { SourceRow } from "../state/entry_source.ts";
import { resourceKey } from "../state/resource_key.ts";
import { kindOf, type Resource, type ResourceKey } from "../state/resource.ts";
import { equalResources, sameResource } from "../state/same_resource.ts";
import { Owners } from "./owners.ts";
import { SettledIndex } from "./settled_index.ts";

export class TrackedEntry {
  readonly key: ResourceKey;
  /** The entry of the winning claim. */
  desired: Resource | undefined = undefined;
  /** Owner of the winning claim; without a claim, its last owner. */
  owner: string | undefined = undefined;
  precedence = 0n;
  /** Claims of other owners to the same key. */
  otherClaims: Claim[] | undefined = undefined;
  /** The entry in the kernel; the same object as `desired` while the two are in sync. */
  actual: Resource | undefined = undefined;
  /** This process set `actual`: it is ours even if the rules of ownership have changed since. */
  isOurChange = false;
  /** It was in sync until another program changed it. */
  hasDrifted = false;
  failure: EntryFailure | undefined = undefined;

  constructor(key: ResourceKey) {
    this.key = key;
  }

  get isInSync(): boolean {
    return this.desired !== undefined && this.actual !== undefined &&
      sameResource(this.desired, this.actual);
  }
}

export interface Claim {
  readonly owner: string;
  readonly precedence: bigint;
  readonly resource: Resource;
}

/** Why an entry is out of sync, and when the next attempt is due. */
export interface EntryFailure {
  readonly kind: "failing" | "conflict" | "damped";
  readonly message: string;
  readonly attempts: number;
  /** Infinity: not before something changes. */
  readonly retryAtMs: number;
}

/** Two owners desire different entries with one key. */
export interface KeyConflict {
  readonly winner: Claim;
  readonly loser: Claim;
}

export interface EntryTableOptions {
  readonly onKeyConflict: (conflict: KeyConflict) => void;
  /**
   * Settled entries of this owner were lost, because its source no longer returns what it desired:
   * the kernel's tables must be dumped.
   */
  readonly onInconsistent: (owner: string) => void;
  /** A number in [0, 1), for the hashes of keys and owners. */
  readonly seed: number;
}

export class EntryTable {
  readonly #options: EntryTableOptions;
  /** Entries that are not settled, or whose owner has no source. */
  readonly #entries = new Map<ResourceKey, TrackedEntry>();
  /** All others: the row of their owner, with a mark if this process wrote the entry. */
  readonly #settled: SettledIndex;
  readonly #owners: Owners;

  constructor(options: EntryTableOptions) {
    this.#options = options;
    this.#settled = new SettledIndex(options.seed);
    this.#owners = new Owners(options.seed);
  }

  /** Number of entries without a record. */
  get settledCount(): number {
    return this.#settled.size;
  }

  /** The entry with this key. It has a record from now on, until `release`. */
  get(key: ResourceKey): TrackedEntry | undefined {
    return this.#entries.get(key) ?? this.#restore(key);
  }

  /** The entry with this key; a new one if there is none. */
  at(key: ResourceKey): TrackedEntry {
    let entry = this.get(key);
    if (entry === undefined) this.#entries.set(key, entry = new TrackedEntry(key));
    return entry;
  }

  /** False: there is certainly no such entry. Cheaper than `get`. */
  mayHave(key: ResourceKey): boolean {
    return this.#entries.has(key) || this.mayBeSettled(key);
  }

  /**
   * Whether the entry with this key is settled and has no record. May be true by mistake, for a key
   * with the hash of a settled entry's key.
   */
  mayBeSettled(key: ResourceKey): boolean {
    return !this.#entries.has(key) &&
      this.#settled.rowsWith(this.#settled.hashOf(key)).length > 0;
  }

  /** Whether this is the value of a settled entry. Unlike `get`, it makes no record. */
  isSettledAs(key: ResourceKey, resource: Resource): boolean {
    if (this.#entries.has(key)) return false;
    const settled = this.#findSettled(key);
    return settled !== undefined && sameResource(settled.resource, resource);
  }

  /** The entries that have a record. */
  records(): IterableIterator<TrackedEntry> {
    return this.#entries.values();
  }

  /** Makes records of the settled entries for which `isWanted` returns true, and returns them. */
  restoreWhere(isWanted: (key: ResourceKey, resource: Resource) => boolean): TrackedEntry[] {
    const restored: TrackedEntry[] = [];
    for (const row of this.#owners.rowsWithSettled()) {
      for (const resource of this.#computedIn(row)) {
        const key = resourceKey(resource);
        if (this.#isSettledIn(row, key) && isWanted(key, resource)) {
          restored.push(this.#restoreFrom(row, key, resource));
        }
      }
    }
    return restored;
  }

  /**
   * Call this when an entry may have become settled or superfluous. Drops the record of a settled
   * entry. Removes an entry that is neither desired nor in the kernel, and returns whether it did.
   */
  release(entry: TrackedEntry): boolean {
    if (entry.desired === undefined && entry.actual === undefined) {
      this.#entries.delete(entry.key);
      return true;
    }
    this.#settle(entry);
    return false;
  }

  /**
   * Replaces all entries that `owner` desires. Calls `onChanged` for each entry whose desired
   * value has changed. The source must always return what `resources` contains.
   */
  setDesired(
    owner: string,
    resources: readonly Resource[],
    precedence: bigint,
    onChanged: (entry: TrackedEntry) => void,
    source?: SourceRow,
  ): void {
    const before = this.#restoreOwner(owner);
    const keys = resources.map(resourceKey);
    // Of two entries with one key the last one counts; such an owner keeps its records.
    const isDistinct = keys.every((key, i) => keys.indexOf(key) === i);
    this.#owners.set(owner, { keys, source: isDistinct ? source : undefined });
    for (const key of before) {
      if (!keys.includes(key)) this.#removeClaim(this.at(key), owner, onChanged);
    }
    // All of them before the first one settles: until each has a record, a hash is not conclusive.
    const entries = keys.map((key) => this.at(key));
    for (const [i, resource] of resources.entries()) {
      const entry = entries[i] as TrackedEntry;
      const isOnlyClaim = entry.desired === undefined ||
        entry.owner === owner && entry.otherClaims === undefined;
      const claim = { owner, precedence, resource };
      if (!isOnlyClaim) this.#addClaim(entry, claim, onChanged);
      else if (!setWinner(entry, claim, onChanged)) this.#settle(entry);
    }
  }

  // ---- Settled entries

  /** Drops the record of an entry that is settled and whose owner has a source. */
  #settle(entry: TrackedEntry): void {
    const { key, owner, desired } = entry;
    const isSettled = desired !== undefined && entry.isInSync && entry.otherClaims === undefined &&
      !entry.hasDrifted && entry.failure === undefined;
    if (!isSettled || owner === undefined || kindOf(desired).dump === undefined) return;
    const row = this.#owners.rowOf(owner);
    if (row === undefined || !this.#owners.hasSource(row)) return;
    // A caller may hold an old record: the entry may have been settled since, or have a new one.
    if (this.#entries.get(key) !== entry) return;
    this.#entries.delete(key);
    this.#settled.add(this.#settled.hashOf(key), row, entry.isOurChange ? 1 : 0);
    this.#owners.addSettled(row, 1);
  }

  #restore(key: ResourceKey): TrackedEntry | undefined {
    const settled = this.#findSettled(key);
    return settled && this.#restoreFrom(settled.row, key, settled.resource);
  }

  /** The settled entry with this key, which may have no record. */
  #findSettled(key: ResourceKey): { row: number; resource: Resource } | undefined {
    if (this.#settled.size === 0) return undefined;
    for (const row of this.#settled.rowsWith(this.#settled.hashOf(key))) {
      const resource = this.#computedIn(row).find((other) => resourceKey(other) === key);
      if (resource !== undefined) return { row, resource };
    }
    return undefined;
  }

  #restoreFrom(row: number, key: ResourceKey, resource: Resource): TrackedEntry {
    const entry = new TrackedEntry(key);
    entry.desired = resource;
    entry.actual = resource;
    entry.owner = this.#owners.nameOf(row);
    entry.precedence = this.#owners.precedenceOf(row);
    entry.isOurChange = this.#settled.remove(this.#settled.hashOf(key), row) === 1;
    this.#owners.addSettled(row, -1);
    this.#entries.set(key, entry);
    return entry;
  }

  #computedIn(row: number): readonly Resource[] {
    return this.#owners.entriesOf(row);
  }

  /** Entries of this owner have a record or are settled in its row: the hash is conclusive. */
  #isSettledIn(row: number, key: ResourceKey): boolean {
    return !this.#entries.has(key) && this.#settled.has(this.#settled.hashOf(key), row);
  }

  /** Makes records of all entries of an owner; returns their keys. */
  #restoreOwner(owner: string): readonly ResourceKey[] {
    const row = this.#owners.rowOf(owner);
    if (row === undefined) return [];
    if (!this.#owners.hasSource(row)) return this.#owners.keysOf(row);
    const resources = this.#computedIn(row);
    const keys = resources.map(resourceKey);
    for (const [i, resource] of resources.entries()) {
      const key = keys[i] as ResourceKey;
      if (this.#isSettledIn(row, key)) this.#restoreFrom(row, key, resource);
    }
    if (this.#owners.settledOf(row) > 0) {
      this.#settled.removeRow(row);
      this.#owners.addSettled(row, -this.#owners.settledOf(row));
      this.#options.onInconsistent(owner);
    }
    return keys;
  }

  // ---- Claims

  #addClaim(entry: TrackedEntry, claim: Claim, onChanged: (entry: TrackedEntry) => void): void {
    const previous = winningClaim(entry);
    const others = (entry.otherClaims ?? []).filter((other) => other.owner !== claim.owner);
    if (previous !== undefined && previous.owner !== claim.owner) others.push(previous);
    this.#setClaims(entry, [...others, claim], onChanged);
    const winner = winningClaim(entry) as Claim;
    for (const loser of entry.otherClaims ?? []) {
      const isNew = loser.owner === claim.owner || winner.owner === claim.owner;
      if (isNew && !sameResource(winner.resource, loser.resource)) {
        this.#options.onKeyConflict({ winner, loser });
      }
    }
  }

  #removeClaim(
    entry: TrackedEntry,
    owner: string,
    onChanged: (entry: TrackedEntry) => void,
  ): void {
    const claims = [winningClaim(entry), ...entry.otherClaims ?? []]
      .filter((claim): claim is Claim => claim !== undefined && claim.owner !== owner);
    this.#setClaims(entry, claims, onChanged);
  }

  /** The strongest of the claims wins. */
  #setClaims(entry: TrackedEntry, claims: Claim[], onChanged: (entry: TrackedEntry) => void): void {
    claims.sort(strongerFirst);
    const [winner, ...others] = claims;
    entry.otherClaims = others.length > 0 ? others : undefined;
    if (winner === undefined) setUndesired(entry, onChanged);
    else if (!setWinner(entry, winner, onChanged)) this.#settle(entry);
  }
}

/** Returns whether the desired entry is another one. */
function setWinner(
  entry: TrackedEntry,
  { owner, precedence, resource }: Claim,
  onChanged: (entry: TrackedEntry) => void,
): boolean {
  const before = entry.desired;
  entry.owner = owner;
  entry.precedence = precedence;
  // Keep the known object, so that equal objects do not add up in memory.
  if (before !== undefined && equalResources(before, resource)) return false;
  entry.desired = resource;
  if (entry.isInSync) entry.actual = resource;
  onChanged(entry);
  return true;
}

/** The owner stays, so that the log can name it when the kernel has deleted the entry. */
function setUndesired(entry: TrackedEntry, onChanged: (entry: TrackedEntry) => void): void {
  entry.precedence = 0n;
  entry.desired = undefined;
  onChanged(entry);
}

function winningClaim(entry: TrackedEntry): Claim | undefined {
  if (entry.desired === undefined || entry.owner === undefined) return undefined;
  return { owner: entry.owner, precedence: entry.precedence, resource: entry.desired };
}

/** Of equal claims, the first by name; the claims of an entry have different owners. */
function strongerFirst(a: Claim, b: Claim): number {
  if (a.precedence !== b.precedence) return a.precedence > b.precedence ? -1 : 1;
  return a.owner < b.owner ? -1 : 1;
}
