/**
 * From leases to desired kernel entries: each lease is an owner of its entries, the node is one
 * more. A changed lease costs the work for one lease.
 */

import type { IpAddress } from "../addr/ip.ts";
import { reservedAddresses } from "../addr/reserved_addresses.ts";
import { RateLimitedWarnings } from "../log/rate_limited_warnings.ts";
import type { Log } from "../log/log.ts";
import { forEachWithMinorGc } from "../base/for_each_with_minor_gc.ts";
import type { Resource } from "../state/resource.ts";
import type { Lease, LeaseKey } from "../subnet/lease.ts";
import type { LeaseChange } from "../subnet/lease_table.ts";
import { type Backend, type PeerReachability, UNKNOWN_REACHABILITY } from "./backend.ts";
import { InvalidPeerError } from "./peer_lease.ts";
import type { NodeInput } from "./node_input.ts";
import type { ExternalInterface } from "../host/external_interface.ts";
import { DepartingPeers } from "./departing_peers.ts";
import { type Clock, systemClock } from "../base/clock.ts";
import {
  identitiesIn,
  type IdentityConflict,
  nodeAddressOf,
  PeerIdentities,
} from "./peer_identities.ts";

/** Takes desired entries; `Reconciler` is one. */
export interface EntryStore {
  setDesired(owner: string, resources: readonly Resource[], precedence?: bigint): void;
  removeOwner(owner: string): void;
}

/** Answers how a peer is reached; `ReachabilitySource` is one. */
export interface ReachabilityReader {
  reachabilityOf(peer: Lease): Promise<PeerReachability>;
  forget(peer: Lease): void;
}

export interface OverlayControllerOptions {
  readonly backend: Backend;
  readonly entryStore: EntryStore;
  readonly reachability: ReachabilityReader;
  readonly log: Log;
  readonly clock?: Clock;
  /** `contested` may have changed. */
  readonly onConflictsChanged?: () => void;
  /** Entries of the node beyond the backend's own, such as `blackholeRoutes`. */
  readonly extraEntries?: (own: Lease) => readonly Resource[];
}

export interface ControllerStatus {
  /** Peers that are not ignored. */
  readonly peers: number;
  /** Peers that are ignored, with the reason. */
  readonly ignored: ReadonlyMap<LeaseKey, string>;
  /** Peers that cannot be reached at present, with the reason. */
  readonly unreachable: ReadonlyMap<LeaseKey, string>;
}

const NODE = "node";
/** The kernel answers at once, or was short of something. */
const LOOK_UP_AGAIN_MS = 1000;

export class OverlayController implements AsyncDisposable {
  readonly #options: OverlayControllerOptions;
  readonly #clock: Clock;
  readonly #lines: RateLimitedWarnings;
  readonly #peers = new Map<LeaseKey, Lease>();
  readonly #ignored = new Map<LeaseKey, string>();
  readonly #unreachable = new Map<LeaseKey, string>();
  readonly #identities: PeerIdentities;
  /** The subset of `#peers` whose lease was deleted a moment ago. */
  readonly #departing = new DepartingPeers();
  #departure: Disposable | undefined;
  /** Peers that the backend's target was told of, as it was told. */
  readonly #told = new Map<LeaseKey, Lease>();
  /** Peers to look up, in order. */
  readonly #toLookUp = new Set<LeaseKey>();
  #lookingUp: Promise<void> | undefined;
  /** Peers whose way could not be looked up, and when they are tried again. */
  readonly #toLookUpAgain = new Set<LeaseKey>();
  #lookUpAgain: Disposable | undefined;
  #stopped = false;
  #own: Lease | undefined;
  #external: ExternalInterface;
  /** Addresses of the external network that no node may have; packets to the last one go to all. */
  #reserved: ReadonlyMap<IpAddress, string>;

  constructor(options: OverlayControllerOptions, external: ExternalInterface) {
    const { log, clock = systemClock } = options;
    this.#options = options;
    this.#clock = clock;
    this.#lines = new RateLimitedWarnings({ log, clock });
    this.#external = external;
    this.#reserved = reservedIn(external);
    this.#identities = new PeerIdentities(options.onConflictsChanged);
  }

  /** Public addresses of peers that claim the same identity; `setAlive` decides between them. */
  get conflictingAddresses(): ReadonlySet<string> {
    return this.#identities.conflictingAddresses;
  }

  /** Only these public addresses belong to live nodes, among peers that claim the same identity. */
  setLiveNodes(addresses: ReadonlySet<string>): void {
    this.#reconsider(this.#identities.setLiveNodes(addresses));
  }

  /** Our own lease, before any other. */
  ownChanged(own: Lease): void {
    this.#own = own;
    this.#projectAll();
  }

  externalChanged(external: ExternalInterface): void {
    this.#external = external;
    this.#reserved = reservedIn(external);
    this.#projectAll();
  }

  /** The ways to the peers may have changed; peers keep their entries until the new answer is there. */
  reachabilityChanged(): void {
    if (!this.#options.backend.needsReachability) return;
    for (const key of this.#peers.keys()) this.#toLookUp.add(key);
    this.#lookUp();
  }

  /**
   * Changes to the other nodes' leases; ours must not be among them. A peer whose lease was deleted
   * keeps its entries for a moment (`departing_peers.ts`).
   */
  applyChanges(changes: readonly LeaseChange[]): void {
    forEachWithMinorGc(changes, (change) => {
      const { lease } = change;
      this.#guard(lease, () => {
        if (change.kind === "put") this.#put(lease);
        else if (change.isSetAside) this.#delete(lease.key);
        else this.#depart(lease.key);
      });
    });
    this.#awaitDepartures();
  }

  status(): ControllerStatus {
    return {
      peers: this.#peers.size - this.#ignored.size - this.#departing.size,
      ignored: this.#ignored,
      unreachable: this.#unreachable,
    };
  }

  /** Resolves when the way to every known peer has been looked up. */
  async whenReachabilityKnown(): Promise<void> {
    while (this.#lookingUp !== undefined) await this.#lookingUp;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stopped = true;
    this.#lookUpAgain?.[Symbol.dispose]();
    this.#departure?.[Symbol.dispose]();
    await this.#lookingUp;
    this.#lines[Symbol.dispose]();
  }

  #put(lease: Lease): void {
    this.#departing.delete(lease.key);
    for (const key of this.#departing.replacedBy(lease)) this.#remove(key);
    const known = this.#peers.get(lease.key);
    if (known !== undefined) this.#options.reachability.forget(known); // Its public address may be another.
    this.#peers.set(lease.key, lease);
    this.#consider(lease);
  }

  /** Its entries, at once or when the way to it has been looked up. */
  #consider(peer: Lease): void {
    if (this.#options.backend.needsReachability) {
      this.#toLookUp.add(peer.key);
      this.#lookUp();
    } else {
      this.#project(peer, UNKNOWN_REACHABILITY);
    }
  }

  /** Its lease was deleted. A peer without entries is removed at once. */
  #depart(key: LeaseKey): void {
    const known = this.#peers.get(key);
    if (known === undefined) return;
    if (this.#ignored.has(key)) this.#delete(key);
    else this.#departing.add(known, this.#clock.nowMs());
  }

  #awaitDepartures(): void {
    if (this.#stopped || this.#departure !== undefined || this.#departing.size === 0) return;
    const delayMs = this.#departing.nextMs - this.#clock.nowMs();
    this.#departure = this.#clock.setTimer(delayMs, () => {
      this.#departure = undefined;
      forEachWithMinorGc(
        this.#departing.due(this.#clock.nowMs()),
        (key) => this.#remove(key),
      );
      this.#awaitDepartures();
    });
  }

  #remove(key: LeaseKey): void {
    const peer = this.#peers.get(key);
    if (peer !== undefined) this.#guard(peer, () => this.#delete(key));
  }

  #delete(key: LeaseKey): void {
    this.#departing.delete(key);
    const known = this.#peers.get(key);
    if (known === undefined) return;
    this.#peers.delete(key);
    this.#ignored.delete(key);
    this.#unreachable.delete(key);
    this.#toLookUp.delete(key);
    this.#options.reachability.forget(known);
    this.#options.entryStore.removeOwner(key);
    this.#tellTarget(known, false);
    this.#reconsider(this.#identities.remove(key));
  }

  #projectAll(): void {
    const { backend, entryStore, extraEntries } = this.#options;
    const input = this.#input();
    if (input === undefined) return;
    entryStore.setDesired(NODE, [...backend.node(input), ...extraEntries?.(input.own) ?? []]);
    if (backend.needsReachability) {
      this.reachabilityChanged();
      return;
    }
    for (const peer of this.#peers.values()) this.#project(peer, UNKNOWN_REACHABILITY);
  }

  /**
   * Runs an action for one peer. If it throws, only that peer is affected: its lease is ignored, with the
   * reason.
   */
  #guard(peer: Lease, action: () => void): void {
    try {
      action();
    } catch (error) {
      this.#setAside(peer, error instanceof Error ? error : new Error(String(error)));
    }
  }

  /** Undoes as much as possible of what the peer had; a step may fail for the same reason. */
  #setAside(peer: Lease, fault: Error): void {
    const undo: (() => void)[] = [
      () => this.#options.entryStore.removeOwner(peer.key),
      () => this.#tellTarget(peer, false),
      () => this.#reconsider(this.#identities.remove(peer.key)),
    ];
    for (const step of undo) {
      try {
        step();
      } catch (error) {
        this.#options.log.debug({ err: error }, `cannot undo the entries of lease ${peer.key}`);
      }
    }
    if (!this.#peers.has(peer.key)) return;
    const reason = `this program cannot process it: ${fault.message}`;
    this.#report(peer, "ignoring", this.#ignored, reason, fault);
  }

  #project(peer: Lease, reachability: PeerReachability): void {
    this.#guard(peer, () => this.#projectOne(peer, reachability));
  }

  /** One peer's entries, or the reason why it has none. */
  #projectOne(peer: Lease, reachability: PeerReachability): void {
    const { backend, entryStore } = this.#options;
    const input = this.#input();
    if (input === undefined) return;
    let resources: Resource[] = [];
    let invalidReason: string | undefined;
    try {
      this.#requireHost(peer);
      resources = backend.peer(peer, input, reachability);
    } catch (error) {
      if (!(error instanceof InvalidPeerError)) throw error;
      invalidReason = error.message;
    }
    const others = this.#identities.put(peer, identitiesIn(resources));
    // No two peers have one entry at a time: it is given up before it is taken.
    if (others.length > 0) entryStore.removeOwner(peer.key);
    this.#reconsider(others);
    const rival = this.#identities.conflictOf(peer.key);
    if (rival !== undefined && this.#departing.has(rival.holder.key)) {
      this.#remove(rival.holder.key);
      return this.#projectOne(peer, reachability);
    }
    if (rival !== undefined) return this.#refuse(peer, rivalText(peer, rival));
    if (invalidReason !== undefined) return this.#refuse(peer, invalidReason);
    this.#report(peer, "ignoring", this.#ignored, undefined);
    this.#report(
      peer,
      "no route to",
      this.#unreachable,
      backend.peerProblem?.(peer, input, reachability),
    );
    entryStore.setDesired(peer.key, resources, peer.modRevision);
    this.#tellTarget(peer, true);
  }

  #requireHost({ attributes: { publicAddresses } }: Lease): void {
    const address = publicAddresses[4];
    const what = address && this.#reserved.get(address);
    if (what === undefined) return;
    const network = this.#external.networks?.[4];
    throw new InvalidPeerError(`its public address ${address} is the ${what} of ${network}`);
  }

  #refuse(peer: Lease, reason: string): void {
    this.#report(peer, "ignoring", this.#ignored, reason);
    this.#unreachable.delete(peer.key);
    this.#options.entryStore.setDesired(peer.key, [], peer.modRevision);
    this.#tellTarget(peer, false);
  }

  /** Peers that have lost an identity to another one, or got what another one had. */
  #reconsider(keys: readonly LeaseKey[]): void {
    const peers = keys.map((key) => this.#peers.get(key) as Lease);
    const rivals = new Map(peers.map((peer) => [peer, this.#identities.conflictOf(peer.key)]));
    for (const [peer, rival] of rivals) {
      if (rival === undefined) continue;
      this.#guard(peer, () => {
        if (this.#departing.has(peer.key)) this.#delete(peer.key);
        else this.#refuse(peer, rivalText(peer, rival));
      });
    }
    for (const [peer, rival] of rivals) {
      if (rival === undefined && this.#peers.has(peer.key)) this.#consider(peer);
    }
  }

  #tellTarget(peer: Lease, isUsable: boolean): void {
    const { target } = this.#options.backend;
    const told = this.#told.get(peer.key);
    if (target === undefined || told === (isUsable ? peer : undefined)) return;
    if (isUsable) {
      this.#told.set(peer.key, peer);
      target.put(peer);
    } else if (told !== undefined) {
      this.#told.delete(peer.key);
      target.remove(told);
    }
  }

  /** Says a reason once, and once more when it is another one. */
  #report(
    peer: Lease,
    verb: string,
    reasons: Map<LeaseKey, string>,
    reason: string | undefined,
    fault?: Error,
  ): void {
    if (reason === undefined) {
      reasons.delete(peer.key);
    } else if (reasons.get(peer.key) !== reason) {
      reasons.set(peer.key, reason);
      const warning = { what: `${verb} lease`, name: peer.key, reason };
      this.#lines.warn(fault === undefined ? warning : { ...warning, fault });
    }
  }

  #input(): NodeInput | undefined {
    return this.#own && { own: this.#own, external: this.#external };
  }

  #lookUp(): void {
    this.#lookingUp ??= this.#runLookUps().finally(() => {
      this.#lookingUp = undefined;
      if (this.#toLookUp.size > 0 && !this.#stopped) this.#lookUp();
    });
  }

  async #runLookUps(): Promise<void> {
    for (const key of this.#toLookUp) {
      if (this.#stopped) return;
      this.#toLookUp.delete(key);
      const peer = this.#peers.get(key);
      if (peer === undefined) continue;
      try {
        const reachability = await this.#options.reachability.reachabilityOf(peer);
        // The lease may have changed or gone meanwhile; then it is in the set again, or not needed.
        if (this.#peers.get(key) === peer) this.#project(peer, reachability);
      } catch (error) {
        this.#report(peer, "no route to", this.#unreachable, (error as Error).message);
        this.#lookUpLater(key);
      }
    }
  }

  #lookUpLater(key: LeaseKey): void {
    this.#toLookUpAgain.add(key);
    this.#lookUpAgain ??= this.#clock.setTimer(LOOK_UP_AGAIN_MS, () => {
      this.#lookUpAgain = undefined;
      for (const failed of this.#toLookUpAgain) this.#toLookUp.add(failed);
      this.#toLookUpAgain.clear();
      this.#lookUp();
    });
  }
}

function reservedIn({ networks }: ExternalInterface): ReadonlyMap<IpAddress, string> {
  const network = networks?.[4];
  return network === undefined ? new Map() : reservedAddresses(network);
}

function rivalText(
  peer: Lease,
  { identity, holder, onlyHolderIsAlive: isAliveAlone }: IdentityConflict,
): string {
  const address = nodeAddressOf(holder);
  const prefix = `its ${identity} is that of lease ${holder.key}, `;
  if (address === nodeAddressOf(peer)) return `${prefix}a newer one of the same node ${address}`;
  if (isAliveAlone) {
    return `${prefix}whose node ${address} is alive, while ${nodeAddressOf(peer)} is not`;
  }
  return `${prefix}whose node ${address} has had it for longer; two nodes have one, or one node ` +
    "has another address now: then delete its former lease";
}
