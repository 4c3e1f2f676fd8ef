/** LeaseKeepAlive, a stream in each direction, as one call. */

import { checkLeaseId, checkTtl } from "./response_checks.ts";
import type { Attempt } from "./calls.ts";
import { Lease as LeaseService } from "../api/rpc_pb.ts";

/** Renews a lease; returns its time to live in seconds, 0n if it does not exist. */
export async function renewLease(
  { transport, signal, timeoutMs, header }: Attempt,
  id: bigint,
): Promise<bigint> {
  const method = LeaseService.method.leaseKeepAlive;
  const response = await transport.stream(method, signal, timeoutMs, header, once({ ID: id }));
  let ttlSeconds: bigint | undefined;
  for await (const { ID, TTL } of response.message) {
    checkLeaseId(ID, id);
    checkTtl(TTL);
    ttlSeconds ??= TTL;
  }
  if (ttlSeconds === undefined) throw new Error("etcd did not respond to the renewal");
  return ttlSeconds;
}

async function* once<T>(value: T): AsyncGenerator<T> {
  yield await Promise.resolve(value);
}
