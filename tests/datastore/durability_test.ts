/** Acknowledged changes are on disk and survive every crash. */

import { expect, test } from "bun:test";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { EtcdServer } from "../support/etcd_server.ts";
import { FLANNELD } from "../support/host.ts";
import { slowly } from "../support/slow_tests.ts";
import { eventually } from "../support/wait.ts";
import { RawClient } from "./raw_client.ts";

const KILLS = slowly(100, 1_000);
const WRITERS = 8;
const encode = (text: string) => new TextEncoder().encode(text);

/** Every key with the highest acknowledged number and its revision. */
type Acknowledged = Map<string, { number: number; revision: bigint }>;

test(
  `${KILLS} kills under load: no acknowledged write is lost, no revision is used twice`,
  async () => {
    await using server = await EtcdServer.start({ kind: "datastore", executable: FLANNELD });
    const acknowledged: Acknowledged = new Map();
    const leases: bigint[] = [];
    let total = 0;
    for (let kill = 0; kill < KILLS; kill++) {
      using client = new RawClient(server.url);
      const highest = await verify(client, acknowledged);
      await client.lease.leaseGrant({ ID: BigInt(kill + 1), TTL: 3_600n });
      leases.push(BigInt(kill + 1));
      const writing = Array.from(
        { length: WRITERS },
        (_, writer) => write(client, `writer-${writer}`, acknowledged, highest),
      );
      // During the writes, however fast they are.
      const goal = numbersOf(acknowledged) + 2 + Math.random() * 50;
      await eventually("some are acknowledged", 60_000, () => numbersOf(acknowledged) > goal);
      await Bun.sleep(Math.random() * 10);
      await server.stop("SIGKILL");
      total += (await Promise.all(writing)).reduce((sum, count) => sum + count, 0);
      await server.start();
    }
    using client = new RawClient(server.url);
    await verify(client, acknowledged);
    const present = (await client.lease.leaseLeases({})).leases.map(({ ID }) => ID);
    expect(present.toSorted((a, b) => Number(a - b))).toEqual(leases);
    // Writes were pending when the process was killed.
    expect(total).toBeGreaterThan(KILLS);
  },
  900_000,
);

/** Number of all keys. */
function numbersOf(acknowledged: Acknowledged): number {
  return [...acknowledged.values()].reduce((sum, { number }) => sum + number, 0);
}

/** Puts increasing numbers until the server is killed; returns how many were acknowledged. */
async function write(
  { kv }: RawClient,
  key: string,
  acknowledged: Acknowledged,
  after: bigint,
): Promise<number> {
  let last = after;
  for (let count = 0;; count++) {
    const number = (acknowledged.get(key)?.number ?? 0) + 1;
    const answer = await kv.put({ key: encode(key), value: encode(`${number}`) }).catch(() => null);
    if (answer === null) return count;
    const revision = answer.header?.revision ?? 0n;
    expect(revision).toBeGreaterThan(last);
    last = revision;
    acknowledged.set(key, { number, revision });
  }
}

/** Returns the store's revision. */
async function verify({ kv }: RawClient, acknowledged: Acknowledged): Promise<bigint> {
  const { kvs, header } = await kv.range({ key: encode("writer-"), rangeEnd: encode("writer.") });
  const present = header?.revision ?? 0n;
  const found = new Map(kvs.map((kv) => [new TextDecoder().decode(kv.key), kv]));
  for (const [key, { number, revision }] of acknowledged) {
    const kv = found.get(key);
    // A write whose response was lost may have succeeded: at most one for each writer.
    const value = Number(new TextDecoder().decode(kv?.value));
    expect([number, number + 1]).toContain(value);
    expect(kv?.modRevision).toBeGreaterThanOrEqual(revision);
    expect(present).toBeGreaterThanOrEqual(revision);
    if (kv) acknowledged.set(key, { number: value, revision: kv.modRevision });
  }
  return present;
}

test("each change is flushed to the disk before it is acknowledged", async () => {
  const directory = mkdtempSync("/var/tmp/datastore-test-");
  try {
    const library = join(directory, "sync_log.so");
    const source = join(import.meta.dir, "sync_log.c");
    const { exitCode } = Bun.spawnSync(["cc", "-shared", "-fPIC", "-o", library, source, "-ldl"]);
    expect(exitCode).toBe(0);
    const log = join(directory, "log");
    const env = { LD_PRELOAD: library, SYNC_LOG: log };
    await using server = await EtcdServer.start({
      kind: "datastore",
      executable: FLANNELD,
      directory,
      env,
    });
    using client = new RawClient(server.url);
    const synced = () =>
      readFileSync(log, "utf8").split("\n").filter((line) =>
        line === `synced ${directory}/data/datastore.sqlite-wal`
      ).length;
    const changes = [
      () => client.kv.put({ key: encode("a") }),
      () => client.kv.deleteRange({ key: encode("a") }),
      () => client.lease.leaseGrant({ ID: 7n, TTL: 600n }),
      () => client.lease.leaseRevoke({ ID: 7n }),
      () => client.kv.compact({ revision: 2n }),
    ];
    for (const change of changes) {
      const before = synced();
      await change();
      expect(synced()).toBeGreaterThan(before);
    }
    const [together, alone] = [256, synced()];
    await Promise.all(
      Array.from({ length: together }, (_, index) => client.kv.put({ key: encode(`k-${index}`) })),
    );
    expect(synced()).toBeGreaterThan(alone);
    expect(synced()).toBeLessThan(alone + together / 2);
    const before = synced();
    await client.kv.range({ key: encode("a") });
    await client.kv.deleteRange({ key: encode("absent") });
    expect(synced()).toBe(before);
  } finally {
    rmSync(directory, { recursive: true });
  }
});
