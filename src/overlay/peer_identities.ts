/**
 * Which peer holds an identity that several peers claim.
 *
 * A WireGuard peer is its public key, and a forwarding entry is a MAC address: a device has one of
 * each. Nodes write their leases themselves, so two leases may name the same. The node that claimed
 * it first has it and the others wait, so that a newcomer cannot take over another node's packets.
 * A node loses it when none of its leases claims it any more, or when another claimant is known to
 * be alive and it is not: a lease outlives its node by up to a day, also if the host is back with
 * another address.
 *
 * A node is known by its public address. One that was set up again with its old key has a new lease
 * besides its old one, which lasts for up to a day. The two do not conflict: the newest one counts.
 *
 * A change costs a binary search, no matter how many peers claim the same identity.
 *
 * A peer whose claims no other one disputes needs no objects: they are in `SettledClaims`, and
 * become objects again when something about them changes (docs/adr/0014).
 */

import { lowerBound } from "../base/binary_search.ts";
import type { Resource } from "../state/resource.ts";
import { type Lease, type LeaseKey, nodeAddressOf } from "../subnet/lease.ts";
import type { SettledClaims } from "./settled_claims.ts";

/**
 * As text for messages: the lease's member with its value, and the device, which can have it once.
 */
export type Identity = string & { readonly __identity: true };

export interface IdentityConflict {
  readonly identity: Identity;
  /** The lease that has it. */
  readonly holder: Lease;
  /** The holder's node is known to be alive, and the other one is not. */
  readonly onlyHolderIsAlive: boolean;
}

/**
 * The identities in a peer's entries. Its other entries are distinguished by its subnet, which is
 * unique.
 */
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

/** Why `peer` is ignored, to follow "ignoring lease …: ". */
export function conflictText(
  peer: Lease,
  { identity, holder, onlyHolderIsAlive }: IdentityConflict,
): string {
  const address = nodeAddressOf(holder);
  const text = `its ${identity} belongs to lease ${holder.key}`;
  if (address === nodeAddressOf(peer)) return `${text}, a newer lease of the same node ${address}`;
  if (onlyHolderIsAlive) {
    return `${text}, whose node ${address} is alive, while ${nodeAddressOf(peer)} is not`;
  }
  return `${text}, whose node ${address} claimed it first; if one host is a copy of the other, ` +
    "give the copy its own; if it is one host whose address has changed, delete its previous lease";
}

export class PeerIdentities {
  readonly #holders = new Map<Identity, IdentityClaim>();
  /** All claims to each identity that has more than one. */
  readonly #conflicts = new Map<Identity, CompetingClaims>();
  /** What each peer claims: nearly always one identity, which needs no list. */
  readonly #claims = new Map<LeaseKey, IdentityClaim | readonly IdentityClaim[]>();
  /** The claims of all other peers. */
  readonly #settled: SettledClaims | undefined;
  readonly #onConflictsChanged: () => void;
  #liveNodes: ReadonlySet<string | undefined> = new Set();

  /** `onConflictsChanged` is called whenever `conflictingAddresses` may have changed. */
  constructor(onConflictsChanged: () => void = () => undefined, settled?: SettledClaims) {
    this.#onConflictsChanged = onConflictsChanged;
    this.#settled = settled;
  }

  /**
   * Addresses of the nodes that claim the same identity as another node: those whose liveness
   * decides.
   */
  get conflictingAddresses(): Set<string> {
    const conflicts = [...this.#conflicts.values()].filter(({ nodeCount }) => nodeCount > 1);
    const addresses = conflicts.flatMap((conflict) => conflict.addresses);
    return new Set(addresses.filter((address) => address !== undefined));
  }

  /** Only these nodes are alive. Returns the peers that gained or lost an identity by it. */
  setLiveNodes(liveNodes: ReadonlySet<string>): LeaseKey[] {
    const changed = this.#liveNodes.symmetricDifference(liveNodes);
    this.#liveNodes = liveNodes;
    const others = new Set<LeaseKey>();
    for (const [identity, conflict] of this.#conflicts) {
      for (const address of changed) conflict.updateLiveness(address);
      this.#hold(identity, conflict.strongest(), others);
    }
    return [...others];
  }

  /** Replaces what a peer claims. Returns the other peers that gained or lost an identity by it. */
  put(lease: Lease, identities: readonly Identity[]): LeaseKey[] {
    this.#restore(lease.key);
    const before = this.#claimsOf(lease.key);
    if (before.length === 0 && identities.length === 0) return [];
    const others = new Set<LeaseKey>();
    for (const claim of before) {
      if (!identities.includes(claim.identity)) this.#withdraw(claim, others);
    }
    const isNew = before.length === 0;
    const claims = identities.map((identity): IdentityClaim => {
      const known = before.find((claim) => claim.identity === identity);
      if (known !== undefined) {
        this.#rewrite(known, lease, others);
        return known;
      }
      const claim = { identity, lease, since: isNew ? undefined : lease.changed };
      this.#enter(claim, others);
      return claim;
    });
    const [first, ...rest] = claims;
    if (first === undefined) this.#claims.delete(lease.key);
    else this.#claims.set(lease.key, rest.length > 0 ? claims : first);
    others.delete(lease.key);
    return [...others];
  }

  /** Withdraws all that a peer claims. Returns the other peers that gained an identity by it. */
  remove(key: LeaseKey): LeaseKey[] {
    this.#restore(key);
    const others = new Set<LeaseKey>();
    for (const claim of this.#claimsOf(key)) this.#withdraw(claim, others);
    this.#claims.delete(key);
    others.delete(key);
    return [...others];
  }

  /**
   * The first identity that this peer claims and another one has; `undefined` if it has all of
   * them.
   */
  conflictOf(key: LeaseKey): IdentityConflict | undefined {
    for (const claim of this.#claimsOf(key)) {
      const { identity } = claim;
      const holder = this.#holders.get(identity) as IdentityClaim;
      if (holder.lease.key === key) continue;
      const onlyHolderIsAlive = this.#isAlive(nodeAddressOf(holder.lease)) &&
        !this.#isAlive(nodeAddressOf(claim.lease));
      return { identity, holder: holder.lease, onlyHolderIsAlive };
    }
    return undefined;
  }

  /**
   * The peer's entries are computed in this row from now on. Call this after `put`: claims that no
   * other peer disputes need no objects. The row must stay until the next `put` or `remove`.
   */
  settle(key: LeaseKey, row: number): void {
    const claims = this.#claimsOf(key);
    const [first] = claims;
    const isUndisputed = claims.every((claim) =>
      claim.since === first?.since && this.#holders.get(claim.identity) === claim &&
      !this.#conflicts.has(claim.identity)
    );
    if (first === undefined || !isUndisputed) return;
    const identities = claims.map(({ identity }) => identity);
    if (!this.#settled?.add(row, identities, first.since)) return;
    for (const identity of identities) this.#holders.delete(identity);
    this.#claims.delete(key);
  }

  /** Makes objects of a peer's claims. */
  #restore(key: LeaseKey): void {
    const settled = this.#settled?.take(key);
    if (settled === undefined) return;
    const { lease, identities, since } = settled;
    const claims = identities.map((identity): IdentityClaim => ({ identity, lease, since }));
    for (const claim of claims) this.#holders.set(claim.identity, claim);
    this.#claims.set(key, claims);
  }

  #holderOf(identity: Identity): IdentityClaim | undefined {
    const claimant = this.#settled?.claimantOf(identity);
    if (claimant !== undefined) this.#restore(claimant);
    return this.#holders.get(identity);
  }

  #claimsOf(key: LeaseKey): readonly IdentityClaim[] {
    const claims = this.#claims.get(key);
    if (claims === undefined) return [];
    return "identity" in claims ? [claims] : claims;
  }

  /** The lease of a claim has changed in something else. */
  #rewrite(claim: IdentityClaim, lease: Lease, others: Set<LeaseKey>): void {
    const isSameLease = claim.lease.created === lease.created;
    if (isSameLease && nodeAddressOf(claim.lease) === nodeAddressOf(lease)) {
      claim.lease = lease;
      return;
    }
    // The claim's position among the others depends on these two.
    this.#withdraw(claim, others);
    claim.lease = lease;
    if (!isSameLease) claim.since = undefined;
    this.#enter(claim, others);
  }

  #enter(claim: IdentityClaim, others: Set<LeaseKey>): void {
    const { identity } = claim;
    const holder = this.#holderOf(identity);
    if (holder === undefined) {
      this.#holders.set(identity, claim);
      return;
    }
    let conflict = this.#conflicts.get(identity);
    if (conflict === undefined) {
      conflict = new CompetingClaims((address) => this.#isAlive(address));
      this.#conflicts.set(identity, conflict);
      conflict.add(holder);
    }
    const { nodeCount } = conflict;
    conflict.add(claim);
    if (conflict.nodeCount !== nodeCount) this.#onConflictsChanged();
    this.#hold(identity, conflict.strongest(), others);
  }

  #withdraw(claim: IdentityClaim, others: Set<LeaseKey>): void {
    const { identity } = claim;
    const conflict = this.#conflicts.get(identity);
    if (conflict === undefined) {
      this.#holders.delete(identity);
      return;
    }
    const { nodeCount } = conflict;
    conflict.delete(claim);
    this.#hold(identity, conflict.strongest(), others);
    if (conflict.size === 1) this.#conflicts.delete(identity);
    if (conflict.nodeCount !== nodeCount) this.#onConflictsChanged();
  }

  #isAlive(address: string | undefined): boolean {
    return this.#liveNodes.has(address);
  }

  #hold(identity: Identity, winner: IdentityClaim, others: Set<LeaseKey>): void {
    const before = this.#holders.get(identity) as IdentityClaim;
    if (before === winner) return;
    this.#holders.set(identity, winner);
    others.add(before.lease.key).add(winner.lease.key);
  }
}

interface IdentityClaim {
  readonly identity: Identity;
  lease: Lease;
  /**
   * Since when, on the store's scale, its node is known to have claimed this; `undefined`: since
   * the lease was created.
   */
  since: bigint | undefined;
}

function sinceOf({ since, lease }: IdentityClaim): bigint {
  return since ?? lease.created;
}

/** Claims of several leases to one identity. */
class CompetingClaims {
  readonly #isAlive: (address: string | undefined) => boolean;
  /** Live nodes first, then in the order in which they claimed it. */
  readonly #nodes: ClaimingNode[] = [];
  readonly #byAddress = new Map<string | undefined, ClaimingNode>();
  #size = 0;

  constructor(isAlive: (address: string | undefined) => boolean) {
    this.#isAlive = isAlive;
  }

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
  strongest(): IdentityClaim {
    const { claims: [claim], since } = this.#nodes[0] as ClaimingNode;
    (claim as IdentityClaim).since = since;
    return claim as IdentityClaim;
  }

  add(claim: IdentityClaim): void {
    this.#size++;
    const address = nodeAddressOf(claim.lease);
    let node = this.#byAddress.get(address);
    if (node === undefined) {
      node = { address, isAlive: this.#isAlive(address), since: sinceOf(claim), claims: [] };
      this.#byAddress.set(address, node);
      insert(this.#nodes, node, isStronger);
    } else if (sinceOf(claim) < node.since) {
      remove(this.#nodes, node, isStronger);
      node.since = sinceOf(claim);
      insert(this.#nodes, node, isStronger);
    }
    insert(node.claims, claim, isNewer);
  }

  /** Whether the node with this address is alive may have changed. */
  updateLiveness(address: string | undefined): void {
    const node = this.#byAddress.get(address);
    const isAlive = this.#isAlive(address);
    if (node === undefined) return;
    remove(this.#nodes, node, isStronger);
    node.isAlive = isAlive;
    insert(this.#nodes, node, isStronger);
  }

  delete(claim: IdentityClaim): void {
    this.#size--;
    const address = nodeAddressOf(claim.lease);
    const node = this.#byAddress.get(address) as ClaimingNode;
    remove(node.claims, claim, isNewer);
    claim.since = node.since; // It may come back under another address.
    if (node.claims.length > 0) return;
    this.#byAddress.delete(address);
    remove(this.#nodes, node, isStronger);
  }
}

/** A node with its claims to one identity, newest lease first. */
interface ClaimingNode {
  readonly address: string | undefined;
  isAlive: boolean;
  /** Stays when an old lease expires. */
  since: bigint;
  readonly claims: IdentityClaim[];
}

function isStronger(a: ClaimingNode, b: ClaimingNode): boolean {
  if (a.isAlive !== b.isAlive) return a.isAlive;
  if (a.since !== b.since) return a.since < b.since;
  return (a.address ?? "") < (b.address ?? "");
}

function isNewer({ lease: a }: IdentityClaim, { lease: b }: IdentityClaim): boolean {
  if (a.created !== b.created) return a.created > b.created;
  return a.key < b.key;
}

/** Whether `a` comes before `b`. */
type Order<T> = (a: T, b: T) => boolean;

function insert<T>(sorted: T[], one: T, order: Order<T>): void {
  sorted.splice(positionOf(sorted, one, order), 0, one);
}

function remove<T>(sorted: T[], one: T, order: Order<T>): void {
  sorted.splice(positionOf(sorted, one, order), 1);
}

/** Index of the first element that does not come before `one`. */
function positionOf<T>(sorted: readonly T[], one: T, order: Order<T>): number {
  return lowerBound(sorted.length, (index) => !order(sorted[index] as T, one));
}
