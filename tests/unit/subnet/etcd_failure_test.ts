/** What a failure of etcd means for the store, and the etcd lease that its attempts share. */

import { Code, ConnectError } from "@connectrpc/connect";
import { beforeEach, describe, expect, test } from "bun:test";
import type { IpAddress } from "../../../src/addr/ip.ts";
import { type EtcdEndpoint, parseEndpoints } from "../../../src/etcd/client/endpoint.ts";
import type { Etcd } from "../../../src/etcd/client/etcd.ts";
import { EtcdError } from "../../../src/etcd/client/etcd_error.ts";
import {
  DuplicateNodeError,
  OutOfSubnetsError,
} from "../../../src/subnet/etcd/allocation_errors.ts";
import { retryOfEtcd, throwingStoreError } from "../../../src/subnet/etcd/etcd_failure.ts";
import { SUBNET_TTL_SECONDS, UnusedLease } from "../../../src/subnet/etcd/unused_lease.ts";
import { StoreError } from "../../../src/subnet/lease_store.ts";
import { etcdError } from "../../support/fake_etcd.ts";

const forever = new AbortController().signal;

describe("retryOfEtcd()", () => {
  test("repeats a failure of etcd, and knows whether a server was reached", () => {
    const refused = Object.assign(new Error("it failed"), { code: "ECONNREFUSED" });
    const unreachable = EtcdError.from(
      new ConnectError("failed", Code.Unavailable, undefined, undefined, refused),
      {
        endpoint: parseEndpoints(["http://192.0.2.1:2379"], {
          defaultScheme: "http",
        })[0] as EtcdEndpoint,
      },
    );
    expect(retryOfEtcd(unreachable)).toEqual({ isUnreachable: true });
    expect(retryOfEtcd(etcdError("away", Code.Unavailable))).toEqual({ isUnreachable: false });
  });

  test.each([
    ["a lack of subnets", new OutOfSubnetsError("none left", { leases: 7 })],
    [
      "a duplicate node",
      new DuplicateNodeError("another one", {
        publicAddress: "192.0.2.1" as IpAddress,
        holder: { hostname: "host-b", interface: "eth0" },
      }),
    ],
    ["an error of the store itself", new StoreError("away")],
    ["a fault of the program", new TypeError("a bug")],
  ])("does not repeat %s", (_what, error) => {
    expect(retryOfEtcd(error)).toBeUndefined();
  });
});

describe("throwingStoreError()", () => {
  test("makes a StoreError of a failure of etcd, with the failure as its cause", async () => {
    const cause = etcdError("away", Code.Unavailable);
    const error = await throwingStoreError(() => Promise.reject(cause)).catch((error) => error);
    expect(error).toBeInstanceOf(StoreError);
    expect(error).toMatchObject({ message: "away", cause });
  });

  test("returns a result, and throws any other error as it is", async () => {
    expect(await throwingStoreError(() => Promise.resolve("done"))).toBe("done");
    const bug = new TypeError("a bug");
    expect(await throwingStoreError(() => Promise.reject(bug)).catch((error) => error)).toBe(bug);
  });
});

describe("UnusedLease", () => {
  let granted: number[];
  let revoked: bigint[];
  let etcd: Etcd;

  beforeEach(() => {
    granted = [];
    revoked = [];
    etcd = {
      grantLease: ({ ttlSeconds }: { ttlSeconds: number }) => {
        granted.push(ttlSeconds);
        return Promise.resolve({ id: BigInt(granted.length), ttlSeconds });
      },
      revokeLease: (id: bigint) => {
        revoked.push(id);
        return revoked.length > 1
          ? Promise.reject(etcdError("away", Code.Unavailable))
          : Promise.resolve();
      },
    } as unknown as Etcd;
  });

  test("is granted once, for a day, when it is first needed", async () => {
    const spare = new UnusedLease(etcd);
    expect(granted).toEqual([]);
    expect([await spare.id(forever), await spare.id(forever)]).toEqual([1n, 1n]);
    expect(granted).toEqual([SUBNET_TTL_SECONDS]);
    expect(SUBNET_TTL_SECONDS).toBe(24 * 3600);
  });

  test("stays when a key is attached to it, and goes when not", async () => {
    {
      await using spare = new UnusedLease(etcd);
      await spare.id(forever);
      spare.release(1n);
    }
    expect(revoked).toEqual([]);
    {
      await using spare = new UnusedLease(etcd);
      await spare.id(forever);
      spare.release(1n); // Another one.
    }
    expect(revoked).toEqual([2n]);
    {
      await using _unused = new UnusedLease(etcd);
    }
    expect(revoked).toEqual([2n]);
  });

  test("expires if it cannot be revoked", async () => {
    revoked.push(0n);
    {
      await using spare = new UnusedLease(etcd);
      await spare.id(forever);
    }
    expect(revoked).toEqual([0n, 1n]);
  });

  test("is granted again when it was revoked, or etcd does not know it any more", async () => {
    const spare = new UnusedLease(etcd);
    await spare.id(forever);
    await spare.revoke(forever);
    await spare.revoke(forever);
    expect(revoked).toEqual([1n]);
    expect(await spare.id(forever)).toBe(2n);
    const unknown = etcdError("requested lease not found", Code.NotFound);
    await expect(spare.attempt(() => Promise.reject(unknown))).rejects.toBe(unknown);
    expect(await spare.id(forever)).toBe(3n);
    const other = etcdError("away", Code.Unavailable);
    await spare.attempt(() => Promise.reject(other)).catch(() => {});
    const text = new TypeError("requested lease not found");
    await spare.attempt(() => Promise.reject(text)).catch(() => {});
    expect(await spare.id(forever)).toBe(3n);
    expect(await spare.attempt(() => Promise.resolve("done"))).toBe("done");
  });
});
