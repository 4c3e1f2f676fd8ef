/**
 * Every entry that is desired, or that the kernel holds and is ours. One record has both sides:
 * what is desired, by which owner, and what the kernel holds as far as known.
 *
 * Several owners may desire one key, although backends prevent it for peers. The claim with the
 * highest precedence wins; when it is withdrawn, the next one takes its place.
 */

import { resourceKey } from "../state/resource_key.ts";
import type { Resource, ResourceKey } from "../state/resource.ts";
import { equalResources, sameResource } from "../state/same_resource.ts";

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

export class EntryTable {
  readonly #entries = new Map<ResourceKey, TrackedEntry>();
  readonly #owned = new Map<string, readonly ResourceKey[]>();
  readonly #onKeyConflict: (conflict: KeyConflict) => void;

  constructor(onKeyConflict: (conflict: KeyConflict) => void) {
    this.#onKeyConflict = onKeyConflict;
  }

  get(key: ResourceKey): TrackedEntry | undefined {
    return this.#entries.get(key);
  }

  /** The entry with this key; a new one if there is none. */
  at(key: ResourceKey): TrackedEntry {
    let entry = this.#entries.get(key);
    if (entry === undefined) this.#entries.set(key, entry = new TrackedEntry(key));
    return entry;
  }

  values(): IterableIterator<TrackedEntry> {
    return this.#entries.values();
  }

  /** Removes an entry that is neither desired nor in the kernel. Returns whether it was removed. */
  release(entry: TrackedEntry): boolean {
    if (entry.desired !== undefined || entry.actual !== undefined) return false;
    this.#entries.delete(entry.key);
    return true;
  }

  /**
   * Replaces all entries that `owner` desires. Calls `onChanged` for each entry whose desired
   * value has changed.
   */
  setDesired(
    owner: string,
    resources: readonly Resource[],
    precedence: bigint,
    onChanged: (entry: TrackedEntry) => void,
  ): void {
    const before = this.#owned.get(owner);
    const keys: ResourceKey[] = [];
    for (const resource of resources) keys.push(resourceKey(resource));
    if (keys.length > 0) this.#owned.set(owner, keys);
    else this.#owned.delete(owner);
    for (const key of before ?? []) {
      if (!keys.includes(key)) this.#removeClaim(this.at(key), owner, onChanged);
    }
    for (const [i, resource] of resources.entries()) {
      const entry = this.at(keys[i] as ResourceKey);
      const isOnlyClaim = entry.desired === undefined ||
        entry.owner === owner && entry.otherClaims === undefined;
      if (isOnlyClaim) setWinner(entry, owner, precedence, resource, onChanged);
      else this.#addClaim(entry, { owner, precedence, resource }, onChanged);
    }
  }

  #addClaim(entry: TrackedEntry, claim: Claim, onChanged: (entry: TrackedEntry) => void): void {
    const previous = winningClaim(entry);
    const others = (entry.otherClaims ?? []).filter((other) => other.owner !== claim.owner);
    if (previous !== undefined && previous.owner !== claim.owner) others.push(previous);
    this.#setClaims(entry, [...others, claim], onChanged);
    const winner = winningClaim(entry) as Claim;
    for (const loser of entry.otherClaims ?? []) {
      const isNew = loser.owner === claim.owner || winner.owner === claim.owner;
      if (isNew && !sameResource(winner.resource, loser.resource)) {
        this.#onKeyConflict({ winner, loser });
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
    else setWinner(entry, winner.owner, winner.precedence, winner.resource, onChanged);
  }
}

function setWinner(
  entry: TrackedEntry,
  owner: string,
  precedence: bigint,
  resource: Resource,
  onChanged: (entry: TrackedEntry) => void,
): void {
  const before = entry.desired;
  entry.owner = owner;
  entry.precedence = precedence;
  // Keep the known object, so that equal objects do not add up in memory.
  if (before !== undefined && equalResources(before, resource)) return;
  entry.desired = resource;
  if (entry.isInSync) entry.actual = resource;
  onChanged(entry);
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
