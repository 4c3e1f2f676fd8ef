/** The renewal of a lease: a stream in each direction, as one call. */

import { createRouterTransport } from "@connectrpc/connect";
import { expect, test } from "bun:test";
import type { Attempt } from "../../../src/etcd/client/calls.ts";
import { renewLease } from "../../../src/etcd/client/lease_renewal.ts";
import { Lease } from "../../../src/etcd/api/rpc_pb.ts";

/** The renewal with such a response of the server. */
async function renewed(...answers: { ID?: bigint; TTL: bigint }[]): Promise<bigint> {
  const transport = createRouterTransport(({ service }) => {
    service(Lease, {
      leaseKeepAlive: async function* (requests) {
        const asked: bigint[] = [];
        for await (const { ID } of requests) asked.push(ID);
        expect(asked).toEqual([5n]);
        yield* answers.map((answer) => ({ ID: 5n, ...answer }));
      },
    });
  });
  const signal = new AbortController().signal;
  return await renewLease({ transport, signal, header: new Headers() } as Attempt, 5n);
}

test("a lease is renewed once, and the first answer counts", async () => {
  expect(await renewed({ TTL: 60n })).toBe(60n);
  expect(await renewed({ TTL: 60n }, { TTL: 50n })).toBe(60n);
  expect(await renewed({ TTL: 0n }, { TTL: 50n })).toBe(0n);
});

test("an answer that cannot be true, or none, is a failure", async () => {
  await expect(renewed()).rejects.toThrow("etcd did not respond to the renewal");
  await expect(renewed({ ID: 6n, TTL: 60n })).rejects.toThrow("lease 6 instead of 5");
  await expect(renewed({ TTL: 2n ** 60n })).rejects.toThrow("invalid time to live");
});
