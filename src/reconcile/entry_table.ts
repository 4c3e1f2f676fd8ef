/**
 * Every entry that somebody desires or that the kernel holds and is ours, with both sides in one
 * record: what is desired, by whom, and what the kernel is known to hold.
 *
 * Several owners may desire one key, although backends see to it that no two peers do. The one with
 * the highest precedence stands; the others come into their own when it goes.
 */

import { resourceKey } from "../state/resource_key.ts";
import type { Resource, ResourceKey } from "../state/resource.ts";
import { equalResources, sameResource } from "../state/same_resource.ts";

export class TrackedEntry {
  readonly key: ResourceKey;
  /** The claim that stands. */
  desired: Resource | undefined = undefined;
  owner: string | undefined = undefined;
  precedence = 0n;
  /** Claims of other owners to the same key. */
  otherClaims: Claim[] | undefined = undefined;
  /** What the kernel holds; the same object as `desired` when it is what it should be. */
  actual: Resource | undefined = undefined;
  /** `actual` is what this process put there, whatever the rules of ownership say since. */
  isOurChange = false;
  /** It was in order until somebody else changed it. */
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

/** Why an entry is not as it should be, and when that is tried again. */
export interface EntryFailure {
  readonly kind: "failing" | "conflict" | "contended";
  readonly message: string;
  readonly attempts: number;
  /** Infinity: not before something changes. */
  readonly retryAtMs: number;
}

/** Two owners want different things under one key. */
export interface KeyConflict {
  readonly winner: Claim;
  readonly loser: Claim;
}

export class EntryTable {
  readonly #entries = new Map<ResourceKey, TrackedEntry>();
  readonly #owned = new Map<string, readonly ResourceKey[]>();
  readonly #onKeyConflict: (contest: KeyConflict) => void;

  constructor(contested: (contest: KeyConflict) => void) {
    this.#onKeyConflict = contested;
  }

  get(key: ResourceKey): TrackedEntry | undefined {
    return this.#entries.get(key);
  }

  /** The entry of this key, made if there is none. */
  at(key: ResourceKey): TrackedEntry {
    let entry = this.#entries.get(key);
    if (entry === undefined) this.#entries.set(key, entry = new TrackedEntry(key));
    return entry;
  }

  values(): IterableIterator<TrackedEntry> {
    return this.#entries.values();
  }

  /** Forgets an entry if nobody desires it and the kernel does not hold it, and says whether. */
  release(entry: TrackedEntry): boolean {
    if (entry.desired !== undefined || entry.actual !== undefined) return false;
    this.#entries.delete(entry.key);
    return true;
  }

  /** Replaces all that `owner` desires; calls `changed` for each entry whose standing claim differs now. */
  setDesired(
    owner: string,
    resources: readonly Resource[],
    precedence: bigint,
    changed: (entry: TrackedEntry) => void,
  ): void {
    const before = this.#owned.get(owner);
    const keys: ResourceKey[] = [];
    for (const resource of resources) keys.push(resourceKey(resource));
    if (keys.length > 0) this.#owned.set(owner, keys);
    else this.#owned.delete(owner);
    for (const key of before ?? []) {
      if (!keys.includes(key)) this.#removeClaim(this.at(key), owner, changed);
    }
    for (const [i, resource] of resources.entries()) {
      const entry = this.at(keys[i] as ResourceKey);
      if (entry.owner === undefined || entry.owner === owner && entry.otherClaims === undefined) {
        setWinner(entry, owner, precedence, resource, changed);
      } else {
        this.#addClaim(entry, { owner, precedence, resource }, changed);
      }
    }
  }

  #addClaim(entry: TrackedEntry, claim: Claim, changed: (entry: TrackedEntry) => void): void {
    const standing = winningClaim(entry);
    const others = (entry.otherClaims ?? []).filter((rival) => rival.owner !== claim.owner);
    if (standing !== undefined && standing.owner !== claim.owner) others.push(standing);
    this.#setClaims(entry, [...others, claim], changed);
    const winner = winningClaim(entry) as Claim;
    for (const loser of entry.otherClaims ?? []) {
      const isNew = loser.owner === claim.owner || winner.owner === claim.owner;
      if (isNew && !sameResource(winner.resource, loser.resource)) {
        this.#onKeyConflict({ winner, loser });
      }
    }
  }

  #removeClaim(entry: TrackedEntry, owner: string, changed: (entry: TrackedEntry) => void): void {
    const claims = [winningClaim(entry), ...entry.otherClaims ?? []]
      .filter((claim): claim is Claim => claim !== undefined && claim.owner !== owner);
    this.#setClaims(entry, claims, changed);
  }

  /** Lets the strongest of the claims stand. */
  #setClaims(entry: TrackedEntry, claims: Claim[], changed: (entry: TrackedEntry) => void): void {
    if (claims.length > 1) claims.sort(strongerFirst);
    const [winner, ...rivals] = claims;
    entry.otherClaims = rivals.length > 0 ? rivals : undefined;
    setWinner(entry, winner?.owner, winner?.precedence ?? 0n, winner?.resource, changed);
  }
}

/** Makes this the claim that stands, or none. */
function setWinner(
  entry: TrackedEntry,
  owner: string | undefined,
  precedence: bigint,
  resource: Resource | undefined,
  changed: (entry: TrackedEntry) => void,
): void {
  const before = entry.desired;
  entry.owner = owner;
  entry.precedence = precedence;
  // The object that is known already is kept, to hold only one of each.
  if (before !== undefined && resource !== undefined && equalResources(before, resource)) return;
  entry.desired = resource;
  if (resource !== undefined && entry.isInSync) entry.actual = resource;
  changed(entry);
}

function winningClaim(entry: TrackedEntry): Claim | undefined {
  if (entry.desired === undefined || entry.owner === undefined) return undefined;
  return { owner: entry.owner, precedence: entry.precedence, resource: entry.desired };
}

function strongerFirst(a: Claim, b: Claim): number {
  if (a.precedence !== b.precedence) return a.precedence > b.precedence ? -1 : 1;
  return a.owner < b.owner ? -1 : a.owner > b.owner ? 1 : 0;
}
