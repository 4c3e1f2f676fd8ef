/**
 * An etcd lease to attach a node's key to: granted once for all attempts, revoked if none uses
 * it.
 */

import type { Etcd } from "../../etcd/client/etcd.ts";
import { isLeaseNotFound } from "../../etcd/client/etcd_error.ts";

/** How long a node keeps its subnet without renewal: a day, as in Go flannel. */
export const SUBNET_TTL_SECONDS = 86_400;

export class UnusedLease implements AsyncDisposable {
  readonly #etcd: Etcd;
  #id: bigint | undefined;

  constructor(etcd: Etcd) {
    this.#etcd = etcd;
  }

  /** The lease's ID. The first call grants the lease. */
  async id(signal: AbortSignal): Promise<bigint> {
    const request = { ttlSeconds: SUBNET_TTL_SECONDS };
    this.#id ??= (await this.#etcd.grantLease(request, signal)).id;
    return this.#id;
  }

  /** A key is attached to the lease `id` now; if it is this one, it is kept. */
  release(id: bigint): void {
    if (id === this.#id) this.#id = undefined;
  }

  /** Revokes it, which deletes any key that is attached to it. */
  async revoke(signal: AbortSignal): Promise<void> {
    const id = this.#id;
    this.#id = undefined;
    if (id !== undefined) await this.#etcd.revokeLease(id, signal);
  }

  /** Runs an attempt that uses the lease; forgets the lease if it no longer exists. */
  async attempt<T>(use: () => Promise<T>): Promise<T> {
    try {
      return await use();
    } catch (error) {
      if (isLeaseNotFound(error)) this.#id = undefined;
      throw error;
    }
  }

  /** Revokes it unless it was released. If that fails, it expires. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.revoke(AbortSignal.timeout(1000)).catch(() => {});
  }
}
