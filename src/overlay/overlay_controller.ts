/**
 * From leases to desired kernel entries: each lease owns its entries, and the node owns its own. A
 * changed lease costs the work for one lease.
 */

import { forEachWithMinorGc } from "../base/for_each_with_minor_gc.ts";
import type { IpAddress } from "../addr/ip.ts";
import { reservedAddresses } from "../addr/reserved_addresses.ts";
import type { Clock } from "../base/clock.ts";
import type { ExternalInterface } from "../host/external_interface.ts";
import type { Log } from "../log/log.ts";
import type { SourceRow } from "../state/entry_source.ts";
import type { Resource } from "../state/resource.ts";
import type { Lease, LeaseKey } from "../subnet/lease.ts";
import type { LeaseChange } from "../subnet/lease_table.ts";
import { type Backend, type PeerReachability, UNKNOWN_REACHABILITY } from "./backend.ts";
import { DepartingPeers } from "./departing_peers.ts";
import type { NodeInput } from "./node_input.ts";
import { conflictText, identitiesIn, PeerIdentities } from "./peer_identities.ts";
import { InvalidPeerError } from "./peer_lease.ts";
import { type PeerPathCounts, PeerPaths, type PeerState } from "./peer_paths.ts";
import { PeerProblems } from "./peer_problems.ts";
import { PeerRows } from "./peer_rows.ts";
import { ReachabilityQueue, type ReachabilityReader } from "./reachability_queue.ts";
import { SettledClaims } from "./settled_claims.ts";
import { TargetPeers } from "./target_peers.ts";

/** Takes desired entries; `Reconciler` is one. */
export interface EntryStore {
  /** `source` is where the same entries are computed. */
  setDesired(
    owner: string,
    resources: readonly Resource[],
    precedence?: bigint,
    source?: SourceRow,
  ): void;
  removeOwner(owner: string): void;
}

export interface OverlayControllerOptions {
  readonly backend: Backend;
  readonly entryStore: EntryStore;
  readonly reachability: ReachabilityReader;
  readonly clock: Clock;
  readonly log: Log;
  /** `conflictingAddresses` may have changed. */
  readonly onConflictsChanged?: () => void;
  /** Entries of the node beyond the backend's own, such as `blackholeRoutes`. */
  readonly extraEntries?: (own: Lease) => readonly Resource[];
}

export interface ControllerStatus {
  /** How many peers are in use. */
  readonly peers: number;
  /** Peers that are ignored, with the reason. */
  readonly ignored: ReadonlyMap<LeaseKey, string>;
  /** Peers that cannot be reached at present, with the reason. */
  readonly unreachable: ReadonlyMap<LeaseKey, string>;
}

const NODE = "node";

export class OverlayController implements AsyncDisposable {
  readonly #options: OverlayControllerOptions;
  readonly #peers: PeerRows;
  readonly #problems: PeerProblems;
  readonly #paths: PeerPaths;
  readonly #identities: PeerIdentities;
  /** The subset of `#peers` whose lease was deleted a moment ago. */
  readonly #departing: DepartingPeers;
  readonly #target: TargetPeers;
  readonly #reachabilityQueue: ReachabilityQueue;
  /** What all entries depend on; the same object until it changes. */
  #input: NodeInput | undefined;
  #external: ExternalInterface;
  /** Addresses of the external network that no node can have, such as the broadcast address. */
  #reserved: ReadonlyMap<IpAddress, string>;

  constructor(options: OverlayControllerOptions, external: ExternalInterface) {
    const { backend, reachability, clock, log, onConflictsChanged } = options;
    this.#options = options;
    this.#external = external;
    this.#reserved = reservedIn(external);
    this.#peers = new PeerRows(backend, clock.random());
    this.#problems = new PeerProblems({ log, clock });
    this.#paths = new PeerPaths(backend);
    const settledClaims = new SettledClaims(this.#peers, clock.random());
    this.#identities = new PeerIdentities(onConflictsChanged, settledClaims);
    this.#departing = new DepartingPeers({
      clock,
      onDue: (keys) => forEachWithMinorGc(keys, (key) => this.#remove(key)),
    });
    this.#target = new TargetPeers(backend.target);
    this.#reachabilityQueue = new ReachabilityQueue({
      reachability,
      clock,
      peer: (key) => this.#peers.get(key),
      onRead: (peer, found) => this.#updatePeer(peer, found),
      onFailed: ({ key }, reason) => this.#problems.setUnreachable(key, reason),
    });
  }

  /**
   * Public addresses of peers that claim the same identity; `setLiveNodes` decides between them.
   */
  get conflictingAddresses(): ReadonlySet<string> {
    return this.#identities.conflictingAddresses;
  }

  /**
   * Sets the public addresses of the nodes that are alive, among those with a conflicting identity.
   */
  setLiveNodes(addresses: ReadonlySet<string>): void {
    this.#resolveConflicts(this.#identities.setLiveNodes(addresses));
  }

  /** This node's own lease; without it, peers have no entries. */
  ownChanged(own: Lease): void {
    this.#input = { own, external: this.#external };
    this.#updateAll();
  }

  externalChanged(external: ExternalInterface): void {
    this.#external = external;
    this.#input = this.#input && { own: this.#input.own, external };
    this.#reserved = reservedIn(external);
    this.#updateAll();
  }

  /** Reads the reachability of all peers again; they keep their entries until it is known. */
  reachabilityChanged(): void {
    if (this.#options.backend.needsReachability) this.#reachabilityQueue.add(this.#peers.keys());
  }

  /**
   * Changes to the other nodes' leases; ours may not be among them. A peer whose lease was deleted
   * keeps its entries for a moment (`departing_peers.ts`).
   */
  applyChanges(changes: readonly LeaseChange[]): void {
    forEachWithMinorGc(changes, (change) => {
      const { lease } = change;
      this.#guard(lease, () => {
        if (change.kind === "put") this.#put(lease);
        else if (change.isRejected) this.#delete(lease.key);
        else this.#depart(lease.key);
      });
    });
  }

  status(): ControllerStatus {
    const { ignored, unreachable } = this.#problems;
    let peers = this.#peers.size - ignored.size;
    // A departing peer may be ignored, too: after a change of the external interface, for example.
    for (const key of this.#departing.keys) if (!ignored.has(key)) peers--;
    return { peers, ignored, unreachable };
  }

  /** How many peers are reached in which way. */
  paths(): PeerPathCounts {
    const { ignored, unreachable } = this.#problems;
    const departing = new Set(this.#departing.keys);
    const isUsed = (key: LeaseKey) =>
      !ignored.has(key) && !unreachable.has(key) && !departing.has(key);
    return { ...this.#paths.counts(this.#peers.keys(), isUsed), departing: departing.size };
  }

  /** Every peer that this node knows. */
  peerStates(): PeerState[] {
    const { ignored, unreachable } = this.#problems;
    const pathOf = (key: LeaseKey) =>
      this.#departing.has(key) ? "departing" : ignored.has(key) ? "ignored" : undefined;
    return [...this.#peers.leases()].map((lease) => {
      const { key } = lease;
      const reached = unreachable.has(key) ? "unreachable" : this.#paths.pathOf(key);
      const problem = ignored.get(key) ?? unreachable.get(key);
      return { lease, path: pathOf(key) ?? reached, problem };
    });
  }

  /** Resolves when the reachability of every known peer has been read. */
  async whenReachabilityKnown(): Promise<void> {
    await this.#reachabilityQueue.whenEmpty();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#departing[Symbol.dispose]();
    await this.#reachabilityQueue[Symbol.asyncDispose]();
    this.#problems[Symbol.dispose]();
  }

  #put(lease: Lease): void {
    this.#departing.delete(lease.key);
    for (const key of this.#departing.replacedBy(lease)) this.#remove(key);
    const previous = this.#peers.get(lease.key);
    if (previous !== undefined) this.#options.reachability.forget(previous);
    this.#peers.put(lease);
    this.#schedule(lease);
  }

  /** Updates the peer's entries: at once, or when its reachability is known. */
  #schedule(peer: Lease): void {
    if (this.#options.backend.needsReachability) this.#reachabilityQueue.add([peer.key]);
    else this.#updatePeer(peer, UNKNOWN_REACHABILITY);
  }

  /** Its lease was deleted. A peer without entries is removed at once. */
  #depart(key: LeaseKey): void {
    const peer = this.#peers.get(key);
    if (peer === undefined) return;
    if (this.#problems.ignored.has(key)) this.#delete(key);
    else this.#departing.add(peer);
  }

  #remove(key: LeaseKey): void {
    const peer = this.#peers.get(key);
    if (peer !== undefined) this.#guard(peer, () => this.#delete(key));
  }

  #delete(key: LeaseKey): void {
    this.#departing.delete(key);
    const peer = this.#peers.get(key);
    if (peer === undefined) return;
    this.#problems.delete(key);
    this.#paths.delete(key);
    this.#reachabilityQueue.delete(key);
    this.#options.reachability.forget(peer);
    const others = this.#identities.remove(key);
    try {
      this.#peers.delete(key, () => this.#options.entryStore.removeOwner(key));
      this.#target.remove(key);
    } finally {
      this.#resolveConflicts(others);
    }
  }

  #updateAll(): void {
    const { backend, entryStore, extraEntries } = this.#options;
    const input = this.#input;
    if (input === undefined) return;
    const entries = [...backend.node(input), ...extraEntries?.(input.own) ?? []];
    entryStore.setDesired(NODE, entries);
    this.#traceEntries(NODE, entries);
    if (backend.needsReachability) return this.reachabilityChanged();
    forEachWithMinorGc(this.#peers.leases(), (peer) => {
      this.#updatePeer(peer, UNKNOWN_REACHABILITY);
    });
  }

  #updatePeer(peer: Lease, reachability: PeerReachability): void {
    this.#guard(peer, () => this.#setEntries(peer, reachability));
  }

  /**
   * Runs an action for one peer. If it throws, only that peer is affected: its lease is ignored,
   * with the reason.
   */
  #guard(peer: Lease, action: () => void): void {
    try {
      action();
    } catch (error) {
      this.#undo(peer);
      if (!this.#peers.has(peer.key)) return;
      const fault = error instanceof Error ? error : new Error(String(error));
      const reason = `this program cannot process it: ${fault.message}`;
      this.#problems.setIgnored(peer.key, reason, fault);
    }
  }

  /** Undoes as much as possible of what the peer has; a step may fail for the same reason. */
  #undo({ key }: Lease): void {
    const steps: (() => void)[] = [
      () => this.#options.entryStore.removeOwner(key),
      () => this.#target.remove(key),
      () => this.#resolveConflicts(this.#identities.remove(key)),
    ];
    for (const step of steps) {
      try {
        step();
      } catch (error) {
        this.#options.log.debug({ err: error, lease: key }, "cannot undo the entries of a lease");
      }
    }
  }

  /** Hands over one peer's entries, or ignores the peer with the reason. */
  #setEntries(peer: Lease, reachability: PeerReachability): void {
    const { backend, entryStore } = this.#options;
    const input = this.#input;
    if (input === undefined) return;
    let resources: Resource[] = [];
    let invalidReason: string | undefined;
    try {
      this.#requireHostAddress(peer);
      resources = backend.peer(peer, input, reachability);
    } catch (error) {
      if (!(error instanceof InvalidPeerError)) throw error;
      invalidReason = error.message;
    }
    const others = this.#identities.put(peer, identitiesIn(resources));
    // No two peers may have one entry at the same time: remove it from one before another gets it.
    if (others.length > 0) entryStore.removeOwner(peer.key);
    this.#resolveConflicts(others);
    const conflict = this.#identities.conflictOf(peer.key);
    if (conflict !== undefined && this.#departing.has(conflict.holder.key)) {
      this.#remove(conflict.holder.key);
      return this.#setEntries(peer, reachability);
    }
    if (conflict !== undefined) return this.#ignore(peer, conflictText(peer, conflict));
    if (invalidReason !== undefined) return this.#ignore(peer, invalidReason);
    this.#problems.setUsed(peer.key, backend.peerProblem?.(peer, input, reachability));
    const row = this.#peers.replaceEntries(peer, { input, reachability }, (source) => {
      entryStore.setDesired(peer.key, resources, peer.changed, source);
    });
    this.#identities.settle(peer.key, row);
    this.#paths.set(peer.key, resources, input.external);
    this.#traceEntries(peer.key, resources);
    this.#target.put(peer);
  }

  #requireHostAddress({ attributes: { publicAddresses } }: Lease): void {
    const address = publicAddresses[4];
    const what = address && this.#reserved.get(address);
    if (what !== undefined) throw new InvalidPeerError(`its public address ${address} is ${what}`);
  }

  #ignore(peer: Lease, reason: string): void {
    this.#problems.setIgnored(peer.key, reason);
    this.#peers.replaceEntries(peer, undefined, () => {
      this.#options.entryStore.setDesired(peer.key, [], peer.changed);
    });
    this.#traceEntries(peer.key, []);
    this.#target.remove(peer.key);
  }

  /** These peers have lost an identity to another peer, or have gained one. */
  #resolveConflicts(keys: readonly LeaseKey[]): void {
    const peers = keys.map((key) => this.#peers.get(key) as Lease);
    const conflicts = new Map(peers.map((peer) => [peer, this.#identities.conflictOf(peer.key)]));
    for (const [peer, conflict] of conflicts) {
      if (conflict === undefined) continue;
      this.#guard(peer, () => {
        if (this.#departing.has(peer.key)) this.#delete(peer.key);
        else this.#ignore(peer, conflictText(peer, conflict));
      });
    }
    for (const [peer, conflict] of conflicts) {
      if (conflict === undefined && this.#peers.has(peer.key)) this.#schedule(peer);
    }
  }

  #traceEntries(owner: string, entries: readonly Resource[]): void {
    this.#options.log.trace(
      { lease: owner, entries: entries.length },
      "lease converted to entries",
    );
  }
}

function reservedIn({ networks }: ExternalInterface): ReadonlyMap<IpAddress, string> {
  const network = networks?.[4];
  return reservedAddresses(network === undefined ? [] : [network]);
}
