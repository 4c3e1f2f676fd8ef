/** LeaseKeepAlive, a stream in each direction, as one call. */

import { checkLeaseId, checkTtl } from "./response_checks.ts";
import type { Attempt } from "./calls.ts";
import { etcdMethods } from "./etcd_messages.ts";

/** Renews a lease; returns its time to live in seconds, 0n if it does not exist. */
export async function renewLease(
  { transport, ...options }: Attempt,
  id: bigint,
): Promise<bigint> {
  const responses = await transport.stream(etcdMethods.leaseKeepAlive, { ID: id }, options);
  let ttlSeconds: bigint | undefined;
  for await (const { ID, TTL } of responses) {
    checkLeaseId(ID, id);
    checkTtl(TTL);
    ttlSeconds ??= TTL;
  }
  if (ttlSeconds === undefined) throw new Error("etcd did not respond to the renewal");
  return ttlSeconds;
}
