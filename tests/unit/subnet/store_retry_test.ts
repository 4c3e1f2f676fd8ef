/** Attempts through an outage, and the etcd lease that they share. */

import { Code, ConnectError } from "@connectrpc/connect";
import { beforeEach, describe, expect, test } from "bun:test";
import type { IpAddress } from "../../../src/addr/ip.ts";
import { type EtcdEndpoint, parseEndpoints } from "../../../src/etcd/client/endpoint.ts";
import type { Etcd } from "../../../src/etcd/client/etcd.ts";
import { EtcdError } from "../../../src/etcd/client/etcd_error.ts";
import { retryUntilSuccess, throwingStoreError } from "../../../src/subnet/etcd/store_retry.ts";
import { SUBNET_TTL_SECONDS, UnusedLease } from "../../../src/subnet/etcd/unused_lease.ts";
import {
  DuplicateNodeError,
  OutOfSubnetsError,
  StoreError,
} from "../../../src/subnet/lease_store.ts";
import { collectingLog, type LogRecord } from "../../support/collecting_log.ts";
import { FakeClock } from "../../support/fake_clock.ts";
import { etcdError } from "../../support/fake_etcd.ts";

const forever = new AbortController().signal;

describe("retryUntilSuccess()", () => {
  let clock: FakeClock;
  let records: LogRecord[];
  let stop: AbortController;
  let times: number[];

  beforeEach(() => {
    clock = new FakeClock(() => 0);
    stop = new AbortController();
    times = [];
  });

  function run(attempt: () => Promise<string>): Promise<unknown> {
    const { log, records: kept } = collectingLog();
    records = kept;
    const options = { what: "it", log, clock, signal: stop.signal, firstMs: 500, maxMs: 2000 };
    const beginMs = clock.nowMs();
    return retryUntilSuccess(options, () => {
      times.push(clock.nowMs() - beginMs);
      return attempt();
    }).catch((error) => error);
  }

  test("pauses twice as long each time until there is an answer, and says both", async () => {
    const result = run(() =>
      times.length < 6
        ? Promise.reject(etcdError("away", Code.Unavailable))
        : Promise.resolve("answer")
    );
    await clock.advance(60_000);
    expect(await result).toBe("answer");
    expect(times).toEqual([0, 500, 1500, 3500, 5500, 7500]);
    expect(records.map(({ msg }) => msg)).toEqual([
      "it failed: away",
      "it works again after 5 failures in 8 s",
    ]);
  });

  test("asks again within a second as long as nothing is reached", async () => {
    const refused = Object.assign(new Error("it failed"), { code: "ECONNREFUSED" });
    const unreachable = EtcdError.from(
      new ConnectError("failed", Code.Unavailable, undefined, undefined, refused),
      {
        endpoint: parseEndpoints(["http://192.0.2.1:2379"], {
          defaultScheme: "http",
        })[0] as EtcdEndpoint,
      },
    );
    const result = run(() =>
      times.length < 5 ? Promise.reject(unreachable) : Promise.resolve("answer")
    );
    await clock.advance(60_000);
    expect(await result).toBe("answer");
    expect(times).toEqual([0, 500, 1500, 2500, 3500]);
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
  ])("gives up at once for %s", async (_what, error) => {
    expect(await run(() => Promise.reject(error))).toBe(error);
    expect(times).toEqual([0]);
    expect(records).toEqual([]);
  });

  test("ends with the signal's reason, before an attempt, after it, and in a pause", async () => {
    const reason = new Error("the daemon ends");
    const pausing = run(() => Promise.reject(etcdError("away", Code.Unavailable)));
    await clock.advance(100);
    stop.abort(reason);
    await clock.advance(0);
    expect(await pausing).toBe(reason);
    expect(times).toEqual([0]);
    expect(await run(() => Promise.resolve("answer"))).toBe(reason);
    expect(times).toEqual([0]);
    stop = new AbortController();
    const failing = run(() => {
      stop.abort(reason);
      return Promise.reject(etcdError("away", Code.Unavailable));
    });
    expect(await failing).toBe(reason);
    expect(records).toEqual([]);
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
