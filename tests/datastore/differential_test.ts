/**
 * A real etcd and our datastore get the same calls, and must respond alike: revisions,
 * versions, leases, errors with their texts, and every event of every watch.
 *
 * Both begin empty and live through all sequences, so that a difference anywhere shows in every
 * revision after it.
 */

import { afterAll, beforeAll, expect, test } from "bun:test";
import fc from "fast-check";
import { EtcdServer } from "../support/etcd_server.ts";
import { slowly } from "../support/slow_tests.ts";
import { ComparedWatches, type WatchInit } from "./compared_watches.ts";
import { type Answer, anyEnd, anyOperation, KEYS, type Operation, perform } from "./operations.ts";
import { RawClient } from "./raw_client.ts";

const SEQUENCES = slowly(3_000, 10_000);
/** Sequences that share their watches. */
const ROUND = 20;

let servers: EtcdServer[];
let clients: RawClient[];
let watches: ComparedWatches[];

beforeAll(async () => {
  servers = [
    await EtcdServer.start({ kind: "etcd" }),
    await EtcdServer.start({ kind: "datastore" }),
  ];
  clients = servers.map(({ url }) => new RawClient(url));
  watches = clients.map((client) => new ComparedWatches(client));
  await both((client) => client.kv.put({ key: KEYS[0] as Uint8Array }));
});

afterAll(async () => {
  for (const one of watches) one[Symbol.dispose]();
  for (const client of clients) client[Symbol.dispose]();
  for (const server of servers) await server[Symbol.asyncDispose]();
});

function both<T>(call: (client: RawClient) => Promise<T>): Promise<T[]> {
  return Promise.all(clients.map(call));
}

async function presentRevision(): Promise<bigint> {
  const [first, second] = await both(async ({ kv }) =>
    (await kv.range({ key: Uint8Array.of(1), countOnly: true })).header?.revision ?? 0n
  );
  expect(second).toBe(first as bigint);
  return first ?? 0n;
}

interface WatchPlan {
  readonly request: WatchInit;
  /** Start, in revisions before the current one; 0n: from now on. */
  readonly back: bigint;
}

const anyWatch: fc.Arbitrary<WatchPlan> = fc.record({
  request: fc.record({
    key: fc.constantFrom(...KEYS),
    rangeEnd: anyEnd,
    prevKv: fc.boolean(),
    filters: fc.constantFrom([], [], [0], [1]),
  }),
  back: fc.constantFrom(0n, 0n, 1n, 5n, 40n),
});

const anyRound = fc.record({
  compactBack: fc.option(fc.bigInt({ min: -1n, max: 50n }), { nil: undefined }),
  watches: fc.array(anyWatch, { minLength: 1, maxLength: 4 }),
  sequences: fc.array(fc.array(anyOperation, { minLength: 1, maxLength: 8 }), {
    minLength: ROUND,
    maxLength: ROUND,
  }),
});

test(
  `${SEQUENCES} random sequences of calls are answered as etcd answers them`,
  async () => {
    let lastCompaction = 0n;
    const property = fc.asyncProperty(anyRound, async (round) => {
      if (round.compactBack !== undefined) {
        lastCompaction = await compact(round.compactBack, lastCompaction);
      }
      const ids = await openWatches(round.watches, lastCompaction);
      for (const sequence of round.sequences) await runSequence(sequence);
      await compareWatches(ids, round.watches);
    });
    await fc.assert(property, { numRuns: SEQUENCES / ROUND, endOnFailure: true });
  },
  600_000,
);

async function compact(back: bigint, last: bigint): Promise<bigint> {
  const revision = await presentRevision() - back;
  const [etcd, ours] = await both(({ kv }) =>
    kv.compact({ revision }).then(() => "compacted", (error) => error.rawMessage as string)
  );
  expect(ours).toBe(etcd as string);
  return etcd === "compacted" ? revision : last;
}

let watchIds = 0n;

async function openWatches(plans: readonly WatchPlan[], compacted: bigint): Promise<bigint[]> {
  const revision = await presentRevision();
  const ids: bigint[] = [];
  for (const { request, back } of plans) {
    const id = ++watchIds;
    ids.push(id);
    let startRevision = back === 0n ? 0n : back < revision ? revision - back : 1n;
    // etcd 3.4 drops a deletion at the revision of the compaction; later versions keep it.
    if (startRevision === compacted) startRevision++;
    await Promise.all(watches.map((one) => one.create(id, { ...request, startRevision })));
  }
  return ids;
}

async function runSequence(sequence: readonly Operation[]): Promise<void> {
  let revision = await presentRevision();
  for (const operation of sequence) {
    const [etcd, ours] = await both((client) => perform(client, operation, revision));
    expect(ours).toEqual(etcd as Answer);
    revision = etcd?.revision ?? revision;
  }
}

async function compareWatches(ids: readonly bigint[], plans: readonly WatchPlan[]): Promise<void> {
  for (const [index, id] of ids.entries()) {
    const { key = KEYS[0], filters = [] } = plans[index]?.request ?? {};
    await both(({ kv }) => kv.put({ key: key as Uint8Array }));
    const put = await presentRevision();
    await both(({ kv }) => kv.deleteRange({ key: key as Uint8Array }));
    const last = filters.includes(1) ? put : await presentRevision();
    const [etcd, ours] = watches as [ComparedWatches, ComparedWatches];
    await Promise.all(watches.map((one) => one.reached(id, last)));
    expect(ours.of(id)).toEqual(etcd.of(id));
    for (const one of watches) one.cancel(id);
  }
}
