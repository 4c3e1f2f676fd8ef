/**
 * An etcd in memory, behind the `Etcd` port, with a clock that tests move and faults on demand:
 * calls that fail before or after they are carried out, outages, compaction.
 */

import { Code } from "@connectrpc/connect";
import type {
  Etcd,
  EtcdKeyValue,
  EtcdOperation,
  EtcdWatch,
  KeyComparison,
  KeyRange,
  LeaseGrant,
  RangeResult,
  Transaction,
  TransactionResult,
} from "../../src/etcd/client/etcd.ts";
import { EtcdError } from "../../src/etcd/client/etcd_error.ts";
import { sleep } from "../../src/base/clock.ts";
import { FakeClock } from "./fake_clock.ts";

export type Fault = "before" | "after";

/** The server; each client that a test makes is a connection to it. */
export class FakeEtcd {
  readonly clock: FakeClock;
  /** Calls carried out so far, by name. */
  readonly calls = new Map<string, number>();
  /** The keys that were created so far, in order. */
  readonly created: string[] = [];
  readonly #keys = new Map<string, EtcdKeyValue>();
  readonly #leases = new Map<bigint, { ttlSeconds: number; expiresMs: number }>();
  readonly #log: { revision: bigint; event: EtcdWatch }[] = [];
  readonly #listeners = new Set<() => void>();
  #revision = 1n;
  #compacted = 0n;
  #nextLease = 1000n;

  constructor(clock: FakeClock = new FakeClock()) {
    this.clock = clock;
  }

  client(): FakeEtcdClient {
    return new FakeEtcdClient(this);
  }

  /** All keys with their values, without those of expired leases. */
  get contents(): Record<string, string> {
    this.expire();
    return Object.fromEntries([...this.#keys.values()].map(({ key, value }) => [key, value]));
  }

  get(key: string): EtcdKeyValue | undefined {
    this.expire();
    return this.#keys.get(key);
  }

  /** Ids of the leases that have not expired. */
  get leases(): bigint[] {
    this.expire();
    return [...this.#leases.keys()];
  }

  put(key: string, value: string, lease = 0n): void {
    this.transaction({ compare: [], success: [{ put: { key, value, lease } }] });
  }

  delete(key: string): void {
    this.transaction({ compare: [], success: [{ delete: { key } }] });
  }

  /** Watches that are behind get a new snapshot. */
  compact(): void {
    this.#compacted = this.#revision;
    this.#log.length = 0;
  }

  range({ key, prefix, keysOnly }: KeyRange): RangeResult {
    this.expire();
    const keyValues = [...this.#keys.values()]
      .filter((item) => prefix ? item.key.startsWith(key) : item.key === key)
      .sort((a, b) => a.key < b.key ? -1 : 1)
      .map((item) => keysOnly ? { ...item, value: "" } : item);
    return { keyValues, revision: this.#revision };
  }

  transaction({ compare, success, failure = [] }: Transaction): TransactionResult {
    this.expire();
    const succeeded = compare.every((item) => this.#holds(item));
    const operations = succeeded ? success : failure;
    const changes = operations.some((operation) =>
      "put" in operation || "delete" in operation && this.#keys.has(operation.delete.key)
    );
    if (changes) this.#revision++;
    const ranges = operations.map((operation) => this.#perform(operation));
    this.#notify();
    return { succeeded, revision: this.#revision, ranges };
  }

  grant(ttlSeconds: number, id = this.#nextLease++): LeaseGrant {
    this.#leases.set(id, { ttlSeconds, expiresMs: this.clock.nowMs() + ttlSeconds * 1000 });
    return { id, ttlSeconds };
  }

  keepAlive(id: bigint): number {
    this.expire();
    const lease = this.#leases.get(id);
    if (lease === undefined) return 0;
    lease.expiresMs = this.clock.nowMs() + lease.ttlSeconds * 1000;
    return lease.ttlSeconds;
  }

  revoke(id: bigint): void {
    this.#leases.delete(id);
    for (const { key, lease } of [...this.#keys.values()]) if (lease === id) this.delete(key);
  }

  timeToLive(id: bigint): { remainingSeconds: number; grantedSeconds: number } {
    this.expire();
    const lease = this.#leases.get(id);
    if (lease === undefined) return { remainingSeconds: -1, grantedSeconds: 0 };
    const remainingSeconds = Math.floor((lease.expiresMs - this.clock.nowMs()) / 1000);
    return { remainingSeconds, grantedSeconds: lease.ttlSeconds };
  }

  expire(): void {
    const nowMs = this.clock.nowMs();
    for (const [id, { expiresMs }] of [...this.#leases]) if (expiresMs <= nowMs) this.revoke(id);
  }

  /** What happened after a revision; `undefined` if it is no longer known. */
  since(revision: bigint): { revision: bigint; event: EtcdWatch }[] | undefined {
    this.expire();
    if (revision < this.#compacted) return undefined;
    return this.#log.filter((item) => item.revision > revision);
  }

  onChange(listener: () => void): Disposable {
    this.#listeners.add(listener);
    return { [Symbol.dispose]: () => this.#listeners.delete(listener) };
  }

  #notify(): void {
    for (const listener of this.#listeners) listener();
  }

  #holds(compare: KeyComparison): boolean {
    const known = this.#keys.get(compare.key);
    return "createRevision" in compare
      ? (known?.createRevision ?? 0n) === compare.createRevision
      : (known?.modRevision ?? 0n) === compare.modRevision;
  }

  #perform(operation: EtcdOperation): readonly EtcdKeyValue[] {
    if ("range" in operation) return this.range(operation.range).keyValues;
    const revision = this.#revision;
    if ("delete" in operation) {
      const { key } = operation.delete;
      if (this.#keys.delete(key)) {
        this.#log.push({ revision, event: { kind: "delete", key, modRevision: revision } });
      }
      return [];
    }
    const { key, value, lease = 0n } = operation.put;
    if (lease !== 0n && !this.#leases.has(lease)) {
      throw etcdError("etcdserver: requested lease not found", Code.NotFound);
    }
    const known = this.#keys.get(key);
    if (known === undefined) this.created.push(key);
    const keyValue = {
      key,
      value,
      lease,
      createRevision: known?.createRevision ?? revision,
      modRevision: revision,
      version: (known?.version ?? 0n) + 1n,
    };
    this.#keys.set(key, keyValue);
    this.#log.push({ revision, event: { kind: "put", keyValue } });
    return [];
  }
}

/** A node's connection, which can be cut. */
export class FakeEtcdClient implements Etcd {
  readonly description = "memory";
  readonly #server: FakeEtcd;
  readonly #faults: { call: string; when: Fault; error: EtcdError }[] = [];
  #isDown = false;

  constructor(server: FakeEtcd) {
    this.#server = server;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return Promise.resolve();
  }

  /** Disconnected: calls fail, watches stand still and catch up afterwards. */
  set down(isDown: boolean) {
    this.#isDown = isDown;
    if (!isDown) this.#server.transaction({ compare: [], success: [] });
  }

  /** Connected, without scheduled faults. */
  heal(): void {
    this.#faults.length = 0;
    this.down = false;
  }

  /** The next call of this name fails, before or after etcd has carried it out. */
  failNext(call: string, when: Fault, message = "the connection was cut"): void {
    this.#faults.push({ call, when, error: etcdError(message, Code.Unavailable) });
  }

  /** The next call of this name is refused: etcd's user lacks the permission. */
  denyNext(call: string): void {
    const error = etcdError("etcdserver: permission denied", Code.PermissionDenied);
    this.#faults.push({ call, when: "before", error });
  }

  range(request: KeyRange, signal: AbortSignal): Promise<RangeResult> {
    return this.#call("range", signal, () => this.#server.range(request));
  }

  transaction(request: Transaction, signal: AbortSignal): Promise<TransactionResult> {
    return this.#call("transaction", signal, () => this.#server.transaction(request));
  }

  grantLease(
    { id = 0n, ttlSeconds }: { id?: bigint; ttlSeconds: number },
    signal: AbortSignal,
  ): Promise<LeaseGrant> {
    return this.#call(
      "grantLease",
      signal,
      () => id === 0n ? this.#server.grant(ttlSeconds) : this.#server.grant(ttlSeconds, id),
    );
  }

  keepLeaseAlive(id: bigint, signal: AbortSignal): Promise<number> {
    return this.#call("keepLeaseAlive", signal, () => this.#server.keepAlive(id));
  }

  revokeLease(id: bigint, signal: AbortSignal): Promise<void> {
    return this.#call("revokeLease", signal, () => this.#server.revoke(id));
  }

  leaseTimeToLive(
    id: bigint,
    signal: AbortSignal,
  ): Promise<{ remainingSeconds: number; grantedSeconds: number }> {
    return this.#call("leaseTimeToLive", signal, () => this.#server.timeToLive(id));
  }

  async *watch(prefix: string, signal: AbortSignal): AsyncGenerator<EtcdWatch> {
    let revision: bigint | undefined;
    while (!signal.aborted) {
      const changed = new AbortController();
      using _listener = this.#server.onChange(() => changed.abort());
      if (!this.#isDown) {
        const events: { revision: bigint; event: EtcdWatch }[] | undefined = revision === undefined
          ? undefined
          : this.#server.since(revision);
        if (events === undefined) {
          const snapshot = this.#server.range({ key: prefix, prefix: true });
          revision = snapshot.revision;
          yield { kind: "snapshot", ...snapshot };
          continue;
        }
        for (const item of events) {
          revision = item.revision;
          const { event } = item;
          const key = event.kind === "put"
            ? event.keyValue.key
            : event.kind === "delete" && event.key;
          if (key && key.startsWith(prefix)) yield event;
        }
        if (events.length > 0) continue;
      }
      await sleep(this.#server.clock, 60_000, AbortSignal.any([signal, changed.signal]));
    }
  }

  async #call<T>(name: string, signal: AbortSignal, perform: () => T): Promise<T> {
    await new Promise((resolve) => setImmediate(resolve));
    signal.throwIfAborted();
    if (this.#isDown) throw etcdError("etcd is out of reach", Code.Unavailable);
    const index = this.#faults.findIndex(({ call }) => call === name);
    const fault = index < 0 ? undefined : this.#faults.splice(index, 1)[0];
    if (fault?.when === "before") throw fault.error;
    const result = perform();
    this.#server.calls.set(name, (this.#server.calls.get(name) ?? 0) + 1);
    if (fault !== undefined) throw fault.error;
    return result;
  }
}

/** The error that the client makes of a response with this status. */
export function etcdError(reason: string, code: Code): EtcdError {
  const kind = code === Code.Unavailable ? "interrupted" : "refused";
  return new EtcdError(reason, { kind, reason, code });
}
