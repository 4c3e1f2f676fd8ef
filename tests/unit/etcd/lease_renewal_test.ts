/** The renewal of a lease: a stream in each direction, as one call. */

import { expect, test } from "bun:test";
import type { Attempt } from "../../../src/etcd/client/calls.ts";
import { renewLease } from "../../../src/etcd/client/lease_renewal.ts";
import { etcdMethods } from "../../../src/etcd/client/etcd_messages.ts";

/** The renewal with such a response of the server. */
async function renewed(...answers: { ID?: bigint; TTL: bigint }[]): Promise<bigint> {
  const transport = {
    stream: (method: unknown, message: unknown, options: unknown) => {
      expect(method).toBe(etcdMethods.leaseKeepAlive);
      expect(message).toEqual({ ID: 5n });
      // The client's side ends after the request.
      expect(options).toEqual({ header: {} });
      return Promise.resolve(answers.map((answer) => ({ ID: 5n, ...answer })));
    },
  };
  return await renewLease({ transport, header: {} } as unknown as Attempt, 5n);
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
