/**
 * Watches which nodes are alive among those that claim the same MAC address or key, and whether
 * another node takes precedence over this one.
 *
 * The store is watched only while there are such nodes; their sessions appear and disappear, but
 * do not change in between. Nothing is reported before the state of every such node is known:
 * otherwise a node would lose its entries for a moment because the store responded about another
 * one first.
 */

import type { IpAddress } from "../addr/ip.ts";
import type { Log } from "../log/log.ts";
import type { LeaseChange } from "../subnet/lease_table.ts";
import { type Lease, type LeaseKey, nodeAddressOf } from "../subnet/lease.ts";
import type { DeviceIdentity, LeaseStore, OwnLease } from "../subnet/lease_store.ts";

export interface IdentityWatchOptions {
  readonly store: Pick<LeaseStore, "watchAlive">;
  readonly own: Pick<OwnLease, "lease">;
  readonly identity: DeviceIdentity | undefined;
  /** Public addresses of peers that claim the same identity. */
  readonly conflictingAddresses: () => ReadonlySet<string>;
  /** Called with the public addresses of all watched nodes that are alive. */
  readonly onLiveNodes: (addresses: ReadonlySet<string>) => void;
  readonly log: Log;
}

/** Usually two nodes conflict. The limit is for a store full of leases with one MAC address. */
const MAX_WATCHES = 32;

export class IdentityWatch implements AsyncDisposable {
  readonly #options: IdentityWatchOptions;
  /** Other nodes' leases with this node's identity. */
  readonly #rivals = new Map<LeaseKey, Lease>();
  readonly #watches = new Map<string, Watch>();
  readonly #running = new Set<Promise<void>>();
  #reported: ReadonlySet<string> = new Set();
  #isDue = false;
  #isStopped = false;
  #problem: string | undefined;

  constructor(options: IdentityWatchOptions) {
    this.#options = options;
  }

  /** Why the other nodes send this node's packets to another one. */
  get problem(): string | undefined {
    return this.#problem;
  }

  /** To be called with each change of the other nodes' leases. */
  leasesChanged(changes: readonly LeaseChange[]): void {
    const { identity } = this.#options;
    for (const { kind, lease } of changes) {
      const isRival = kind === "put" && identity?.matchIn(lease.attributes) !== undefined;
      if (!isRival && !this.#rivals.has(lease.key)) continue;
      if (isRival) this.#rivals.set(lease.key, lease);
      else this.#rivals.delete(lease.key);
      this.conflictsChanged();
    }
    this.#updateProblem(); // This node's own lease may have changed.
  }

  /** The result of `conflictingAddresses` may have changed; may be called often. */
  conflictsChanged(): void {
    if (this.#isDue) return;
    this.#isDue = true;
    queueMicrotask(() => {
      this.#isDue = false;
      if (!this.#isStopped) this.#update();
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#isStopped = true;
    for (const watch of this.#watches.values()) watch.stop.abort();
    await Promise.all([...this.#running]);
  }

  #update(): void {
    const { own, conflictingAddresses } = this.#options;
    const rivals = this.#rivals.size > 0 ? [own.lease, ...this.#rivals.values()] : [];
    const addresses = rivals.map(nodeAddressOf).filter((address) => address !== undefined);
    const wanted = new Set([...addresses, ...conflictingAddresses()].slice(0, MAX_WATCHES));
    for (const [address, { stop }] of this.#watches) {
      if (wanted.has(address)) continue;
      stop.abort();
      this.#watches.delete(address);
    }
    for (const address of wanted) {
      if (!this.#watches.has(address)) this.#watch(address);
    }
    this.#report();
  }

  #watch(address: string): void {
    const watch: Watch = { stop: new AbortController(), isAlive: undefined };
    this.#watches.set(address, watch);
    const run = this.#follow(address, watch).finally(() => this.#running.delete(run));
    this.#running.add(run);
  }

  async #follow(address: string, watch: Watch): Promise<void> {
    const { signal } = watch.stop;
    try {
      const states = this.#options.store.watchAlive(address as IpAddress, signal);
      for await (const isAlive of states) {
        if (signal.aborted) return;
        watch.isAlive = isAlive;
        this.#report();
      }
    } catch (error) {
      if (signal.aborted) return;
      const text = `cannot determine whether the node with public address ${address} is alive`;
      this.#options.log.warn({ err: error }, text);
    }
    if (signal.aborted) return;
    watch.isAlive ??= false; // The store cannot determine it.
    this.#report();
  }

  #report(): void {
    if (!this.#isKnown()) return;
    const watches = [...this.#watches].filter(([, { isAlive }]) => isAlive);
    const alive = new Set(watches.map(([address]) => address));
    if (this.#reported.symmetricDifference(alive).size > 0) {
      this.#reported = alive;
      this.#options.onLiveNodes(alive);
    }
    this.#updateProblem();
  }

  #isKnown(): boolean {
    return !this.#isDue &&
      [...this.#watches.values()].every(({ isAlive }) => isAlive !== undefined);
  }

  /** Logs when another node takes precedence over this one, and when that ends. */
  #updateProblem(): void {
    if (!this.#isKnown()) return;
    const { log } = this.#options;
    const problem = this.#findProblem();
    if (problem === this.#problem) return;
    if (problem !== undefined) log.error(problem);
    else log.info("the other nodes send packets for this node to it again");
    this.#problem = problem;
  }

  #findProblem(): string | undefined {
    const { identity, own } = this.#options;
    const rival = [...this.#rivals.values()].find((lease) => this.#wins(lease, own.lease));
    if (rival === undefined || identity === undefined) return undefined;
    const match = identity.matchIn(rival.attributes);
    const address = nodeAddressOf(rival);
    const why = this.#reported.has(address ?? "") ? "is alive" : "had it first";
    return `lease ${rival.key} of ${address} contains this node's ${match}, and its node ` +
      `${why}: the other nodes send to that node only. If one of the two hosts is a copy of the ` +
      `other, ${identity.remedy} there and restart flanneld; if that node is gone, delete its ` +
      "lease or Node";
  }

  /** As the other nodes decide; see `PeerIdentities`. */
  #wins(rival: Lease, own: Lease): boolean {
    const [theirs, ours] = [nodeAddressOf(rival), nodeAddressOf(own)];
    if (theirs === ours) {
      return rival.created === own.created ? rival.key < own.key : rival.created > own.created;
    }
    const isAlive = this.#reported.has(theirs ?? "");
    if (isAlive !== this.#reported.has(ours ?? "")) return isAlive;
    return rival.created === own.created
      ? (theirs ?? "") < (ours ?? "")
      : rival.created < own.created;
  }
}

interface Watch {
  readonly stop: AbortController;
  /** `undefined` until it is known. */
  isAlive: boolean | undefined;
}
