import { expect, test } from "bun:test";
import { EtcdClient } from "../../src/etcd/client/etcd_client.ts";
import { systemClock } from "../../src/base/clock.ts";
import { collectingLog } from "../support/collecting_log.ts";
import { EtcdCluster, freePorts } from "../support/etcd_server.ts";
import { eventually } from "../support/wait.ts";

const { log } = collectingLog();
const forever = new AbortController().signal;

test("a cluster of three survives its leader, with every event once and in order", async () => {
  await using cluster = await EtcdCluster.start(3);
  await using client = new EtcdClient({ clock: systemClock, endpoints: cluster.urls, log });
  const events = client.watch("/cluster/", forever)[Symbol.asyncIterator]();
  await events.next();
  const put = async (number: number) => {
    const success = [{ put: { key: "/cluster/a", value: `${number}` } }];
    // A change whose response is lost is repeated, which is harmless here. Meanwhile the members
    // elect a leader, in as many rounds as it takes.
    await eventually(
      `the put of ${number}`,
      60_000,
      () => client.transaction({ compare: [], success }, forever),
    );
  };
  const seen: number[] = [];
  let revision = 0n;
  const reading = (async () => {
    while (seen.at(-1) !== 299) {
      const { value } = await events.next();
      if (value?.kind !== "put") throw new Error(`a put is due, not ${value?.kind}`);
      expect(value.keyValue.modRevision).toBeGreaterThan(revision);
      revision = value.keyValue.modRevision;
      const number = Number(value.keyValue.value);
      if (seen.at(-1) !== number) seen.push(number);
    }
  })();
  for (let number = 0; number < 300; number++) {
    if (number === 100 || number === 200) {
      const leader = await cluster.leader();
      await leader.stop("SIGKILL");
      await put(number);
      await leader.start();
    } else {
      await put(number);
    }
  }
  await reading;
  expect(seen).toEqual(Array.from({ length: 300 }, (_, number) => number));
}, 180_000);

test("a member without the others is left for one with a leader", async () => {
  await using cluster = await EtcdCluster.start(3);
  const leader = await cluster.leader();
  const follower = cluster.members.find((member) => member !== leader);
  if (follower === undefined) throw new Error("a cluster of three has followers");
  const others = cluster.members.filter((member) => member !== follower);
  const { log, records } = collectingLog();
  // The first endpoint is preferred with this clock.
  const clock = { ...systemClock, random: () => 0 };
  const endpoints = [follower.url, ...others.map(({ url }) => url)];
  await using client = new EtcdClient({ endpoints, log, clock });
  await using alone = new EtcdClient({ clock: systemClock, endpoints: [follower.url], log });
  const events = client.watch("/alone/", forever)[Symbol.asyncIterator]();
  await events.next();
  const event = events.next();
  const { id } = await client.grantLease({ ttlSeconds: 300 }, forever);
  for (let renewal = 0; renewal < 2; renewal++) await client.keepLeaseAlive(id, forever);
  await Bun.sleep(200);
  // Both others hang: the follower is alone, and its watch would stay silent forever.
  for (const member of others) member.freeze();
  while (!records.some(({ msg }) => msg.includes("no leader"))) await Bun.sleep(100);
  const refusal = await alone.range({ key: "/a" }, forever).catch((error: Error) => error.message);
  expect(refusal).toContain("no leader");
  // The stream on which the lease was renewed has ended, and there is no other member.
  expect(await alone.keepLeaseAlive(id, forever).catch((error: Error) => error.message))
    .toContain("no leader");
  for (const member of others) member.thaw();
  const success = [{ put: { key: "/alone/a", value: "" } }];
  while (await client.transaction({ compare: [], success }, forever).catch(() => {}) === undefined);
  expect(await event).toMatchObject({ value: { kind: "put", keyValue: { key: "/alone/a" } } });
  expect(await client.keepLeaseAlive(id, forever)).toBe(300);
}, 180_000);

test("members that do not listen are passed over", async () => {
  await using cluster = await EtcdCluster.start(1);
  const ports = await freePorts(4);
  const dead = ports.map((port) => `http://127.0.0.1:${port}`);
  for (let start = 0; start < 5; start++) {
    const endpoints = [...dead.slice(0, start), ...cluster.urls, ...dead.slice(start)];
    await using client = new EtcdClient({ clock: systemClock, endpoints, log });
    expect((await client.range({ key: "/a" }, forever)).keyValues).toEqual([]);
  }
}, 90_000);
