import { describe, expect, test } from "bun:test";
import { IdentityWatch } from "../../../src/daemon/identity_watch.ts";
import type { Lease, LeaseKey } from "../../../src/subnet/lease.ts";
import type { DeviceIdentity } from "../../../src/subnet/lease_store.ts";
import { collectingLog } from "../../support/collecting_log.ts";
import { settle } from "../../support/fake_clock.ts";
import { lease as sampleLease } from "../../support/sample_network.ts";

const OWN_ADDRESS = "192.168.0.1";

const identity: DeviceIdentity = {
  texts: ["02:01"],
  matchIn: ({ backendData }) => backendData[4] === "02:01" ? "VtepMAC 02:01" : undefined,
  remedy: "delete the device",
};

/** A lease of node n with this node's identity, or with another one. */
function lease(n: number, created: number, data = "02:01"): Lease {
  const plain = sampleLease(n, "vxlan", [4]);
  return {
    ...plain,
    key: `k${n}` as LeaseKey,
    attributes: { ...plain.attributes, backendData: { 4: data } },
    created: BigInt(created),
    changed: BigInt(created),
  };
}

const put = (one: Lease) => ({ kind: "put" as const, lease: one });

/** Sessions as a test sets them; `null`: they cannot be read. */
class Sessions {
  readonly watched = new Map<string, (isAlive: boolean | null) => void>();
  opened = 0;

  async *watchAlive(address: string, signal: AbortSignal): AsyncGenerator<boolean> {
    this.opened++;
    let next = Promise.withResolvers<boolean | null>();
    this.watched.set(address, (isAlive) => next.resolve(isAlive));
    signal.addEventListener("abort", () => {
      this.watched.delete(address);
      next.resolve(null);
    });
    for (;;) {
      const isAlive = await next.promise;
      if (isAlive === null) return;
      next = Promise.withResolvers();
      yield isAlive;
    }
  }

  async say(address: string, isAlive: boolean | null): Promise<void> {
    this.watched.get(address)?.(isAlive);
    await settle();
  }
}

function watch(conflicts: Set<string> = new Set()) {
  const sessions = new Sessions();
  const { log, records } = collectingLog();
  const alive: string[][] = [];
  const own = { lease: lease(1, 100) };
  const identities = new IdentityWatch({
    store: sessions,
    own,
    identity,
    conflictingAddresses: () => conflicts,
    onLiveNodes: (addresses) => alive.push([...addresses]),
    log,
  });
  return { identities, sessions, records, alive, own };
}

describe("peers that claim one identity", () => {
  test("are watched while they do, and nothing is reported before all is known", async () => {
    const conflicts = new Set(["192.0.2.1", "192.0.2.2"]);
    const { identities, sessions, alive } = watch(conflicts);
    identities.conflictsChanged();
    await settle();
    expect([...sessions.watched.keys()]).toEqual([...conflicts]);
    await sessions.say("192.0.2.2", true);
    expect(alive).toEqual([]);
    await sessions.say("192.0.2.1", true);
    expect(alive).toEqual([["192.0.2.1", "192.0.2.2"]]);
    await sessions.say("192.0.2.1", false);
    expect(alive.at(-1)).toEqual(["192.0.2.2"]);
    conflicts.clear();
    identities.conflictsChanged();
    await settle();
    expect(sessions.watched.size).toBe(0);
    expect(alive.at(-1)).toEqual([]);
    await identities[Symbol.asyncDispose]();
  });

  test("cost no call while there are none, and a limited number of watches otherwise", async () => {
    const conflicts = new Set<string>();
    const { identities, sessions } = watch(conflicts);
    identities.leasesChanged([put(lease(2, 50, "02:02"))]);
    await settle();
    expect(sessions.opened).toBe(0);
    for (let i = 0; i < 1000; i++) conflicts.add(`172.16.${i >> 8}.${i & 255}`);
    identities.conflictsChanged();
    await settle();
    expect(sessions.opened).toBe(32);
    await identities[Symbol.asyncDispose]();
    expect(sessions.watched.size).toBe(0);
  });

  test("count as not alive where the store does not say", async () => {
    const { identities, sessions, alive } = watch(new Set(["192.0.2.1", "192.0.2.2"]));
    identities.conflictsChanged();
    await settle();
    await sessions.say("192.0.2.1", true);
    await sessions.say("192.0.2.2", null);
    expect(alive).toEqual([["192.0.2.1"]]);
    identities.conflictsChanged();
    await settle();
    expect(sessions.opened).toBe(2);
    await identities[Symbol.asyncDispose]();
  });
});

describe("another lease with this node's identity", () => {
  async function rivalOf(created: number, alive: { own: boolean; rival: boolean }) {
    const world = watch();
    world.identities.leasesChanged([put(lease(2, created))]);
    await settle();
    expect(world.identities.problem).toBe(undefined);
    await world.sessions.say(OWN_ADDRESS, alive.own);
    await world.sessions.say("192.168.0.2", alive.rival);
    return world;
  }

  test("is a problem while its node wins", async () => {
    const { identities, sessions, records } = await rivalOf(50, { own: true, rival: true });
    expect(identities.problem).toBe(
      "lease k2 of 192.168.0.2 contains this node's VtepMAC 02:01, and its node is alive: the " +
        "other nodes send to that node only. If one of the two hosts is a copy of the other, " +
        "delete the device there and restart flanneld; if that node is gone, delete its lease or " +
        "Node",
    );
    await sessions.say("192.168.0.2", false);
    expect(identities.problem).toBe(undefined);
    await sessions.say("192.168.0.2", true);
    expect(identities.problem).toBeDefined();
    identities.leasesChanged([{ kind: "delete", lease: lease(2, 50) }]);
    await settle();
    expect(identities.problem).toBe(undefined);
    expect(sessions.watched.size).toBe(0);
    expect(records.map(({ level }) => level)).toEqual(["error", "info", "error", "info"]);
    await identities[Symbol.asyncDispose]();
  });

  test.each([
    [50, { own: false, rival: false }, "had it first"],
    [50, { own: true, rival: false }, undefined],
    [150, { own: true, rival: true }, undefined],
    [150, { own: false, rival: true }, "is alive"],
  ])("made at %p with %p: %p", async (created, alive, why) => {
    const { identities } = await rivalOf(created, alive);
    if (why === undefined) expect(identities.problem).toBe(undefined);
    else expect(identities.problem).toContain(`its node ${why}:`);
    await identities[Symbol.asyncDispose]();
  });

  test("of the same age is one if its address comes first, as the other nodes decide", async () => {
    for (const [n, isProblem] of [[0, true], [2, false]] as const) {
      const { identities, sessions } = watch();
      identities.leasesChanged([put(lease(n, 100))]);
      await settle();
      await sessions.say(OWN_ADDRESS, true);
      await sessions.say(`192.168.0.${n}`, true);
      expect([n, identities.problem !== undefined]).toEqual([n, isProblem]);
      await identities[Symbol.asyncDispose]();
    }
  });

  test("of the same address and age is one if its key comes first", async () => {
    for (const [key, isProblem] of [["a", true], ["z", false]] as const) {
      const { identities, sessions } = watch();
      identities.leasesChanged([put({ ...lease(1, 100), key: key as LeaseKey })]);
      await settle();
      await sessions.say(OWN_ADDRESS, true);
      expect([key, identities.problem !== undefined]).toEqual([key, isProblem]);
      await identities[Symbol.asyncDispose]();
    }
  });

  test("of the same address is one if it is newer, or ours is made again later", async () => {
    const { identities, sessions, own } = watch();
    const same = { ...lease(1, 150), key: "k9" as LeaseKey };
    identities.leasesChanged([put(same)]);
    await settle();
    await sessions.say(OWN_ADDRESS, true);
    expect(identities.problem).toContain("lease k9 of 192.168.0.1");
    own.lease = lease(1, 200);
    identities.leasesChanged([]);
    expect(identities.problem).toBe(undefined);
    await identities[Symbol.asyncDispose]();
  });
});
