import { errorMessage } from "../base/operator_error.ts";
import type { Clock } from "../base/clock.ts";
import type { Lease, LeaseKey } from "../subnet/lease.ts";
import { equalLeases } from "../subnet/packed_lease.ts";
import type { PeerReachability } from "./backend.ts";

/** Asks how a peer is reached; `ReachabilitySource` is one. */
export interface ReachabilityReader {
  reachabilityOf(peer: Lease): Promise<PeerReachability>;
  /** The peer is gone or its public address may have changed. */
  forget(peer: Lease): void;
}

export interface ReachabilityQueueOptions {
  readonly reachability: ReachabilityReader;
  readonly clock: Clock;
  /** The current lease of a peer; `undefined` if it is gone. */
  peer(key: LeaseKey): Lease | undefined;
  onRead(peer: Lease, reachability: PeerReachability): void;
  /** The peer is tried again later. */
  onFailed(peer: Lease, reason: string): void;
}

/** A constant delay: a look-up fails only if the kernel is out of memory. */
const RETRY_MS = 1000;

/** Peers whose reachability must be read, one after the other. */
export class ReachabilityQueue implements AsyncDisposable {
  readonly #options: ReachabilityQueueOptions;
  /** In the order in which they were added. */
  readonly #waiting = new Set<LeaseKey>();
  readonly #failed = new Set<LeaseKey>();
  #running: Promise<void> | undefined;
  #retryTimer: Disposable | undefined;
  #isDisposed = false;

  constructor(options: ReachabilityQueueOptions) {
    this.#options = options;
  }

  add(keys: Iterable<LeaseKey>): void {
    for (const key of keys) this.#waiting.add(key);
    this.#start();
  }

  delete(key: LeaseKey): void {
    this.#waiting.delete(key);
  }

  /** Resolves when the queue is empty; peers that failed do not count. */
  async whenEmpty(): Promise<void> {
    while (this.#running !== undefined) await this.#running;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#isDisposed = true;
    this.#retryTimer?.[Symbol.dispose]();
    await this.#running;
  }

  #start(): void {
    this.#running ??= this.#run().finally(() => {
      this.#running = undefined;
      if (this.#waiting.size > 0 && !this.#isDisposed) this.#start();
    });
  }

  async #run(): Promise<void> {
    for (const key of this.#waiting) {
      if (this.#isDisposed) return;
      this.#waiting.delete(key);
      const peer = this.#options.peer(key);
      if (peer !== undefined) await this.#read(peer);
    }
  }

  async #read(peer: Lease): Promise<void> {
    const { reachability, onRead, onFailed } = this.#options;
    // If the lease changes meanwhile, the peer is queued again; if it goes, nothing is needed.
    const isCurrent = () => {
      const current = this.#options.peer(peer.key);
      return current !== undefined && equalLeases(current, peer);
    };
    try {
      const found = await reachability.reachabilityOf(peer);
      if (isCurrent()) onRead(peer, found);
    } catch (error) {
      if (!isCurrent()) return;
      onFailed(peer, errorMessage(error));
      this.#retry(peer.key);
    }
  }

  #retry(key: LeaseKey): void {
    if (this.#isDisposed) return;
    this.#failed.add(key);
    this.#retryTimer ??= this.#options.clock.setTimer(RETRY_MS, () => {
      this.#retryTimer = undefined;
      this.add([...this.#failed]);
      this.#failed.clear();
    });
  }
}
