/**
 * The datastore is killed at random moments while clients write: what was acknowledged is there
 * afterwards, and revisions go on where they were.
 */

import { expect, test } from "bun:test";
import { EtcdServer } from "../support/etcd_server.ts";
import { RawClient } from "./raw_client.ts";

const KILLS = process.env.FLANNELD_SLOW_TESTS === "1" ? 1_000 : 200;
const WRITERS = 8;
const encode = (text: string) => new TextEncoder().encode(text);

/** Every key with the highest number that was acknowledged, and the revision of that. */
type Acknowledged = Map<string, { number: number; revision: bigint }>;

test(
  `${KILLS} kills under load: no acknowledged write is lost, no revision is used twice`,
  async () => {
    await using server = await EtcdServer.start({ kind: "datastore" });
    const acknowledged: Acknowledged = new Map();
    let total = 0;
    for (let kill = 0; kill < KILLS; kill++) {
      using client = new RawClient(server.url);
      const highest = await verify(client, acknowledged);
      const writing = Array.from(
        { length: WRITERS },
        (_, writer) => write(client, `writer-${writer}`, acknowledged, highest),
      );
      await Bun.sleep(Math.random() * 40);
      await server.stop("SIGKILL");
      total += (await Promise.all(writing)).reduce((sum, count) => sum + count, 0);
      await server.start();
    }
    using client = new RawClient(server.url);
    await verify(client, acknowledged);
    // The kills came while there was something to lose.
    expect(total).toBeGreaterThan(KILLS);
  },
  900_000,
);

/** Puts ever higher numbers until the server is gone; returns how many were acknowledged. */
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
    // A write whose answer was lost may be there as well: one at most for each writer.
    const value = Number(new TextDecoder().decode(kv?.value));
    expect([number, number + 1]).toContain(value);
    expect(kv?.modRevision).toBeGreaterThanOrEqual(revision);
    expect(present).toBeGreaterThanOrEqual(revision);
    if (kv) acknowledged.set(key, { number: value, revision: kv.modRevision });
  }
  return present;
}
