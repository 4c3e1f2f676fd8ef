/**
 * Which peer has an identity that several claim.
 *
 * A WireGuard peer is its public key, and a forwarding entry is a MAC address: one of each on a
 * device. Leases are written by the nodes themselves, so two may well name the same. The node that
 * said so first has it, and the others wait; whoever comes later cannot cut it off. It has it until
 * it has no lease that says so any more, or until another one of them is known to be alive and it is
 * not: a lease outlives its node by up to a day, also if the host has come back with another address.
 *
 * A node is known by its public address. One that was set up anew with its old key has a new lease
 * beside its old one, which lasts for up to a day: it is no rival of itself, and its newest lease
 * counts.
 *
 * Each change costs the same however many claim the same, but for a binary search.
 */

import type { Resource } from "../state/resource.ts";
import type { Lease, LeaseKey } from "../subnet/lease.ts";

/** In words: what stands in the lease, and the device that can have it once. */
export type Identity = string & { readonly __identity: true };

export interface IdentityConflict {
  readonly identity: Identity;
  /** The lease that has it. */
  readonly holder: Lease;
  /** Its node is known to be alive, and the other one is not. */
  readonly onlyHolderIsAlive: boolean;
}

/** The identities in a peer's entries: what is not decided by its subnet, which is nobody else's. */
export function identitiesIn(resources: readonly Resource[]): Identity[] {
  return resources.flatMap((resource) => {
    switch (resource.kind) {
      case "fdb":
        return `VtepMAC ${resource.mac} (${resource.link})` as Identity;
      case "wireguard-peer":
        return `PublicKey ${resource.publicKey} (${resource.link})` as Identity;
      default:
        return [];
    }
  });
}

/** The address by which a node is known; `undefined` if its lease has none. */
export function nodeAddressOf({ attributes: { publicAddresses } }: Lease): string | undefined {
  return publicAddresses[4] ?? publicAddresses[6];
}

export class PeerIdentities {
  readonly #holders = new Map<Identity, Claim>();
  /** Where there is more than one claim: all of them. */
  readonly #conflicts = new Map<Identity, IdentityClaims>();
  readonly #claims = new Map<LeaseKey, readonly Claim[]>();
  readonly #onConflictsChanged: () => void;
  /** Addresses of nodes that are alive. */
  #alive: ReadonlySet<string | undefined> = new Set();

  /** `onContested` is called whenever `contested` may have changed. */
  constructor(onContested: () => void = () => undefined) {
    this.#onConflictsChanged = onContested;
  }

  /** Addresses of the nodes that claim the same identity as another one: are they alive? */
  get conflictingAddresses(): Set<string> {
    const contests = [...this.#conflicts.values()].filter(({ nodeCount }) => nodeCount > 1);
    const addresses = contests.flatMap((contest) => contest.addresses);
    return new Set(addresses.filter((address) => address !== undefined));
  }

  /** Only these nodes are alive. Returns the peers that have gained or lost an identity by it. */
  setLiveNodes(alive: ReadonlySet<string>): LeaseKey[] {
    const before = this.#alive;
    this.#alive = alive;
    const changed = [...before, ...alive].filter((address) =>
      before.has(address) !== alive.has(address as string)
    );
    const others = new Set<LeaseKey>();
    if (changed.length === 0) return [];
    for (const [identity, contest] of this.#conflicts) {
      for (const address of changed) contest.setAlive(address, alive.has(address as string));
      this.#hold(identity, contest.strongest(), others);
    }
    return [...others];
  }

  /**
   * Takes note of all that a peer claims now. Returns the other peers that have won or lost
   * something by it.
   */
  put(lease: Lease, identities: readonly Identity[]): LeaseKey[] {
    const before = this.#claims.get(lease.key) ?? [];
    if (before.length === 0 && identities.length === 0) return [];
    const others = new Set<LeaseKey>();
    for (const claim of before) {
      if (!identities.includes(claim.identity)) this.#withdraw(claim, others);
    }
    const isNew = before.length === 0;
    const claims = identities.map((identity): Claim => {
      const known = before.find((claim) => claim.identity === identity);
      if (known !== undefined) {
        this.#rewrite(known, lease, others);
        return known;
      }
      const claim = { identity, lease, since: isNew ? lease.createRevision : lease.modRevision };
      this.#enter(claim, others);
      return claim;
    });
    if (claims.length > 0) this.#claims.set(lease.key, claims);
    else this.#claims.delete(lease.key);
    others.delete(lease.key);
    return [...others];
  }

  /** The same for a peer that is gone. */
  remove(key: LeaseKey): LeaseKey[] {
    const others = new Set<LeaseKey>();
    for (const claim of this.#claims.get(key) ?? []) this.#withdraw(claim, others);
    this.#claims.delete(key);
    others.delete(key);
    return [...others];
  }

  /** Who has something that this peer claims, too; `undefined` if it has all of it. */
  conflictOf(key: LeaseKey): IdentityConflict | undefined {
    for (const claim of this.#claims.get(key) ?? []) {
      const { identity } = claim;
      const holder = this.#holders.get(identity) as Claim;
      if (holder.lease.key === key) continue;
      const onlyHolderIsAlive = this.#isAlive(holder) && !this.#isAlive(claim);
      return { identity, holder: holder.lease, onlyHolderIsAlive };
    }
    return undefined;
  }

  /** The same claim with another content of the lease. */
  #rewrite(claim: Claim, lease: Lease, others: Set<LeaseKey>): void {
    const isSameLease = claim.lease.createRevision === lease.createRevision;
    if (isSameLease && nodeAddressOf(claim.lease) === nodeAddressOf(lease)) {
      claim.lease = lease;
      return;
    }
    // Its place among the others depends on these.
    this.#withdraw(claim, others);
    claim.lease = lease;
    if (!isSameLease) claim.since = lease.createRevision;
    this.#enter(claim, others);
  }

  #enter(claim: Claim, others: Set<LeaseKey>): void {
    const { identity } = claim;
    const holder = this.#holders.get(identity);
    if (holder === undefined) {
      this.#holders.set(identity, claim);
      return;
    }
    let contest = this.#conflicts.get(identity);
    if (contest === undefined) {
      this.#conflicts.set(identity, contest = new IdentityClaims());
      contest.add(holder, this.#isAlive(holder));
    }
    const { nodeCount } = contest;
    contest.add(claim, this.#isAlive(claim));
    if (contest.nodeCount !== nodeCount) this.#onConflictsChanged();
    this.#hold(identity, contest.strongest(), others);
  }

  #withdraw(claim: Claim, others: Set<LeaseKey>): void {
    const { identity } = claim;
    const contest = this.#conflicts.get(identity);
    if (contest === undefined) {
      this.#holders.delete(identity);
      return;
    }
    const { nodeCount } = contest;
    contest.delete(claim);
    this.#hold(identity, contest.strongest(), others);
    if (contest.size === 1) this.#conflicts.delete(identity);
    if (contest.nodeCount !== nodeCount) this.#onConflictsChanged();
  }

  #isAlive({ lease }: Claim): boolean {
    return this.#alive.has(nodeAddressOf(lease));
  }

  #hold(identity: Identity, winner: Claim, others: Set<LeaseKey>): void {
    const before = this.#holders.get(identity) as Claim;
    if (before === winner) return;
    this.#holders.set(identity, winner);
    others.add(before.lease.key).add(winner.lease.key);
  }
}

interface Claim {
  readonly identity: Identity;
  lease: Lease;
  /** Datastore revision since which its node is known to have claimed this. */
  since: bigint;
}

/** Claims to one identity by several leases. */
class IdentityClaims {
  /** Live nodes first, then in the order in which they claimed it. */
  readonly #nodes: Node[] = [];
  readonly #byAddress = new Map<string | undefined, Node>();
  #size = 0;

  get size(): number {
    return this.#size;
  }

  get nodeCount(): number {
    return this.#nodes.length;
  }

  get addresses(): (string | undefined)[] {
    return this.#nodes.map(({ address }) => address);
  }

  /** The newest lease of the first node; the claim gets the time of that node's first one. */
  strongest(): Claim {
    const { claims: [claim], since } = this.#nodes[0] as Node;
    (claim as Claim).since = since;
    return claim as Claim;
  }

  add(claim: Claim, isAlive: boolean): void {
    this.#size++;
    const address = nodeAddressOf(claim.lease);
    let node = this.#byAddress.get(address);
    if (node === undefined) {
      this.#byAddress.set(address, node = { address, isAlive, since: claim.since, claims: [] });
      insert(this.#nodes, node, firstToLast);
    } else if (claim.since < node.since) {
      remove(this.#nodes, node, firstToLast);
      node.since = claim.since;
      insert(this.#nodes, node, firstToLast);
    }
    insert(node.claims, claim, newestFirst);
  }

  setAlive(address: string | undefined, isAlive: boolean): void {
    const node = this.#byAddress.get(address);
    if (node === undefined || node.isAlive === isAlive) return;
    remove(this.#nodes, node, firstToLast);
    node.isAlive = isAlive;
    insert(this.#nodes, node, firstToLast);
  }

  delete(claim: Claim): void {
    this.#size--;
    const address = nodeAddressOf(claim.lease);
    const node = this.#byAddress.get(address) as Node;
    remove(node.claims, claim, newestFirst);
    claim.since = node.since; // It may come back under another address.
    if (node.claims.length > 0) return;
    this.#byAddress.delete(address);
    remove(this.#nodes, node, firstToLast);
  }
}

/** A node with its claims to one identity, newest lease first. */
interface Node {
  readonly address: string | undefined;
  isAlive: boolean;
  /** It stays when an old lease expires. */
  since: bigint;
  readonly claims: Claim[];
}

function firstToLast(a: Node, b: Node): number {
  if (a.isAlive !== b.isAlive) return a.isAlive ? -1 : 1;
  if (a.since !== b.since) return a.since < b.since ? -1 : 1;
  return (a.address ?? "") < (b.address ?? "") ? -1 : a.address === b.address ? 0 : 1;
}

function newestFirst({ lease: a }: Claim, { lease: b }: Claim): number {
  if (a.createRevision !== b.createRevision) return a.createRevision > b.createRevision ? -1 : 1;
  return a.key < b.key ? -1 : a.key > b.key ? 1 : 0;
}

type Order<T> = (a: T, b: T) => number;

function insert<T>(sorted: T[], one: T, order: Order<T>): void {
  sorted.splice(placeOf(sorted, one, order), 0, one);
}

function remove<T>(sorted: T[], one: T, order: Order<T>): void {
  sorted.splice(placeOf(sorted, one, order), 1);
}

/** Index of the first that does not come before it. */
function placeOf<T>(sorted: readonly T[], one: T, order: Order<T>): number {
  let [low, high] = [0, sorted.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (order(sorted[middle] as T, one) < 0) low = middle + 1;
    else high = middle;
  }
  return low;
}
