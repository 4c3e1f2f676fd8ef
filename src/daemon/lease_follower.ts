/** Turns the other nodes' leases into desired kernel entries, as leases come and go. */

import type { ExcludedAddress } from "../addr/excluded_address.ts";
import type { Clock } from "../base/clock.ts";
import { errorMessage } from "../base/operator_error.ts";
import type { NetworkConfig } from "../config/network_config.ts";
import type { ExternalInterface } from "../host/external_interface.ts";
import type { Kernel } from "../kernel/kernel.ts";
import type { Log } from "../log/log.ts";
import { RateLimitedWarnings } from "../log/rate_limited_warnings.ts";
import { type Backend, UNKNOWN_REACHABILITY } from "../overlay/backend.ts";
import { traceLeaseEvent } from "../overlay/lease_event_trace.ts";
import {
  type EntryStore,
  OverlayController,
  type OverlayControllerOptions,
} from "../overlay/overlay_controller.ts";
import { InvalidPeerError } from "../overlay/peer_lease.ts";
import type { PeerPathCounts, PeerState } from "../overlay/peer_paths.ts";
import { ReachabilitySource } from "../overlay/peer_reachability.ts";
import type { Ownership } from "../state/ownership.ts";
import type { Resource } from "../state/resource.ts";
import type { Lease, LeaseKey, LeaseWatch } from "../subnet/lease.ts";
import type { LeaseStore, OwnLease } from "../subnet/lease_store.ts";
import { LeaseTable } from "../subnet/lease_table.ts";
import { IdentityWatch } from "./identity_watch.ts";

export interface LeaseFollowerOptions extends Pick<OverlayControllerOptions, "extraEntries"> {
  readonly config: NetworkConfig;
  readonly backend: Backend;
  readonly own: OwnLease;
  readonly excluded: readonly ExcludedAddress[];
  /** The current external interface and ownership. */
  readonly external: () => ExternalInterface;
  readonly ownership: () => Ownership;
  readonly entryStore: EntryStore;
  /** Called when a change of the other nodes' leases has been processed. */
  readonly onProcessed: () => void;
  readonly store: Pick<LeaseStore, "allocation" | "watchLeases" | "watchAlive">;
  readonly kernel: Kernel;
  readonly clock: Clock;
  readonly log: Log;
}

export interface LeaseFollowerStatus {
  /** Peers that are not ignored. */
  readonly peers: number;
  readonly unreachable: number;
  readonly ignored: number;
}

export class LeaseFollower implements AsyncDisposable {
  readonly #options: LeaseFollowerOptions;
  readonly #table: LeaseTable;
  readonly #reachability: ReachabilitySource;
  readonly #controller: OverlayController;
  readonly #identities: IdentityWatch;
  readonly #cleanup = new AsyncDisposableStack();
  /** A change that could not be processed. A single lease that fails is ignored instead. */
  #problem: string | undefined;

  /** Throws `KernelError`. */
  constructor(options: LeaseFollowerOptions) {
    const { config, backend, own, excluded, entryStore, kernel, store, clock } = options;
    const log = options.log.child({ component: backend.type });
    this.#options = options;
    const warnings = this.#cleanup.use(new RateLimitedWarnings({ log: options.log, clock }));
    this.#table = new LeaseTable({
      config,
      allocation: store.allocation,
      own: own.lease,
      excluded,
      backendType: backend.attributes.backendType,
      onRejected: ({ key, ...why }) => warnings.warn({ what: "ignoring lease", name: key, ...why }),
      seed: clock.random(),
    });
    this.#reachability = this.#cleanup.use(
      new ReachabilitySource({
        kernel,
        ownership: options.ownership,
        external: options.external,
        onChanged: () => this.#controller.reachabilityChanged(),
      }),
    );
    this.#controller = this.#cleanup.use(
      new OverlayController({
        backend,
        entryStore,
        reachability: this.#reachability,
        onConflictsChanged: () => this.#identities.conflictsChanged(),
        ...(options.extraEntries && { extraEntries: options.extraEntries }),
        clock,
        log,
      }, options.external()),
    );
    this.#identities = this.#cleanup.use(
      new IdentityWatch({
        store,
        own,
        identity: backend.identity,
        conflictingAddresses: () => this.#controller.conflictingAddresses,
        onLiveNodes: (addresses) => this.#controller.setLiveNodes(addresses),
        log,
      }),
    );
  }

  /** Why the other nodes' leases are not applied, one line each. */
  problems(): string[] {
    return [this.#problem, this.#identities.problem].filter((problem) => problem !== undefined);
  }

  status(): LeaseFollowerStatus {
    const { peers, unreachable, ignored } = this.#controller.status();
    const { rejected } = this.#table;
    return { peers, unreachable: unreachable.size, ignored: ignored.size + rejected.size };
  }

  /** How many peers are reached in which way. */
  paths(): PeerPathCounts {
    return this.#controller.paths();
  }

  /** Every peer that this node knows, without the rejected leases. */
  peerStates(): PeerState[] {
    return this.#controller.peerStates();
  }

  /** The leases that are not valid, with the reason. */
  get rejected(): ReadonlyMap<LeaseKey, string> {
    return this.#table.rejected;
  }

  /** What the kernel should hold for a peer; nothing if it is ignored. Throws `KernelError`. */
  async entriesOf(peer: Lease): Promise<Resource[]> {
    const { backend, own: { lease: own }, external } = this.#options;
    const reachability = backend.needsReachability
      ? await this.#reachability.reachabilityOf(peer)
      : UNKNOWN_REACHABILITY;
    try {
      return backend.peer(peer, { own, external: external() }, reachability);
    } catch (error) {
      if (error instanceof InvalidPeerError) return [];
      throw error;
    }
  }

  /** Desires this node's own entries; before `follow`. */
  start(): void {
    this.#controller.ownChanged(this.#options.own.lease);
  }

  externalChanged(external: ExternalInterface): void {
    this.#controller.externalChanged(external);
  }

  setExcluded(addresses: readonly ExcludedAddress[]): void {
    this.#controller.applyChanges(this.#table.setExcluded(addresses));
  }

  /** Resolves when the kernel has been asked how to reach every known peer. */
  whenReachabilityKnown(): Promise<void> {
    return this.#controller.whenReachabilityKnown();
  }

  /** Processes leases until `stop` aborts; waits for `onSnapshot` after the first complete list. */
  async follow(stop: AbortSignal, onSnapshot: () => Promise<void>): Promise<void> {
    let hasSnapshot = false;
    for await (const event of this.#options.store.watchLeases(stop)) {
      const isProcessed = this.#process(event);
      if (!isProcessed || event.kind !== "snapshot" || hasSnapshot) continue;
      hasSnapshot = true;
      await onSnapshot();
      if (stop.aborted) return;
    }
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.#cleanup.disposeAsync();
  }

  /** Whether the event was processed. A single lease that fails is handled where it is read. */
  #process(event: LeaseWatch): boolean {
    try {
      traceLeaseEvent(this.#options.log, event);
      const changes = this.#table.apply(event);
      this.#controller.applyChanges(changes);
      this.#identities.leasesChanged(changes);
      this.#options.onProcessed();
      if (event.kind === "snapshot") this.#problem = undefined;
      return true;
    } catch (error) {
      this.#problem = `cannot process a change of the other nodes' leases: ${errorMessage(error)}`;
      const stack = error instanceof Error ? error.stack : undefined;
      this.#options.log.error(
        { stack: stack?.slice(0, MAX_STACK_LENGTH) },
        `${this.#problem}; restart flanneld`,
      );
      return false;
    }
  }
}

const MAX_STACK_LENGTH = 2000;
