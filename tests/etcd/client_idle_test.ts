import { expect, test } from "bun:test";
import { systemClock } from "../../src/base/clock.ts";
import { EtcdClient } from "../../src/etcd/client/etcd_client.ts";
import { collectingLog } from "../support/collecting_log.ts";
import { EtcdServer } from "../support/etcd_server.ts";
import { slowly } from "../support/slow_tests.ts";

const forever = new AbortController().signal;
/** Fifteen minutes with FLANNELD_SLOW_TESTS=1; a few PINGs' time without. */
const idleMs = slowly(15_000, 15 * 60_000);

test(
  `a watch that was idle for ${idleMs / 1_000} s still delivers, on its first stream`,
  async () => {
    await using server = await EtcdServer.start();
    const { log, records } = collectingLog();
    await using client = new EtcdClient({ clock: systemClock, endpoints: [server.url], log });
    await using writer = new EtcdClient({ clock: systemClock, endpoints: [server.url], log });
    const events = client.watch("/idle/", forever)[Symbol.asyncIterator]();
    await events.next();
    const event = events.next();
    await Bun.sleep(idleMs);
    const success = [{ put: { key: "/idle/a", value: "" } }];
    await writer.transaction({ compare: [], success }, forever);
    expect(await event).toMatchObject({ value: { kind: "put", keyValue: { key: "/idle/a" } } });
    expect((await server.callCounts()).get("Watch")).toBe(1);
    expect(records).toEqual([]);
  },
  2 * idleMs + 90_000,
);

test("the renewals of a minute are messages of one call", async () => {
  await using server = await EtcdServer.start();
  const { log } = collectingLog();
  await using client = new EtcdClient({ clock: systemClock, endpoints: [server.url], log });
  const { id } = await client.grantLease({ ttlSeconds: 60 }, forever);
  for (let renewal = 0; renewal < 5; renewal++) {
    expect(await client.keepLeaseAlive(id, forever)).toBe(60);
    await Bun.sleep(100);
  }
  expect((await server.callCounts()).get("LeaseKeepAlive")).toBe(1);
  await client.revokeLease(id, forever);
  expect(await client.keepLeaseAlive(id, forever)).toBe(0);
  // A server that was restarted has ended the stream: no renewal fails.
  const other = await client.grantLease({ ttlSeconds: 60 }, forever);
  expect(await client.keepLeaseAlive(other.id, forever)).toBe(60);
  await server.stop();
  await server.start();
  expect(await client.keepLeaseAlive(other.id, forever)).toBe(60);
}, 90_000);
