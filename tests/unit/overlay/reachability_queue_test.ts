import { beforeEach, describe, expect, spyOn, test } from "bun:test";
import type { PeerReachability } from "../../../src/overlay/backend.ts";
import { ReachabilityQueue } from "../../../src/overlay/reachability_queue.ts";
import type { Lease, LeaseKey } from "../../../src/subnet/lease.ts";
import { FakeClock } from "../../support/fake_clock.ts";
import { lease } from "../../support/sample_network.ts";

const NEAR: PeerReachability = { direct: { 4: true }, path: { 4: "dev eth0" } };
const [ONE, TWO, THREE] = [1, 2, 3].map((n) => lease(n, "host-gw", [4])) as [Lease, Lease, Lease];

let clock: FakeClock;
let peers: Map<LeaseKey, Lease>;
/** The questions and reports, in order. */
let events: string[];
/** Called when a peer's reachability is read. */
let answer: (peer: Lease) => Promise<PeerReachability>;
let queue: ReachabilityQueue;

beforeEach(() => {
  clock = new FakeClock();
  peers = new Map([ONE, TWO, THREE].map((peer) => [peer.key, peer]));
  events = [];
  answer = () => Promise.resolve(NEAR);
  queue = new ReachabilityQueue({
    reachability: {
      reachabilityOf(peer) {
        events.push(`ask ${peer.key}`);
        return answer(peer);
      },
      forget: () => {},
    },
    clock,
    peer: (key) => peers.get(key),
    onRead: (peer, found) => void events.push(`read ${peer.key} ${found.path[4]}`),
    onFailed: (peer, reason) => void events.push(`failed ${peer.key} ${reason}`),
  });
});

describe("ReachabilityQueue", () => {
  test("reads one peer after the other, each once", async () => {
    queue.add([TWO.key, ONE.key, TWO.key]);
    await queue.whenEmpty();
    expect(events).toEqual([
      "ask node-2",
      "read node-2 dev eth0",
      "ask node-1",
      "read node-1 dev eth0",
    ]);
  });

  test("reads no peer that was deleted from it, and none that is gone", async () => {
    peers.delete(TWO.key);
    queue.add([ONE.key, TWO.key, THREE.key]);
    queue.delete(THREE.key);
    await queue.whenEmpty();
    expect(events.filter((event) => event.startsWith("ask"))).toEqual(["ask node-1"]);
  });

  test("reads a peer again that was added while it was read", async () => {
    answer = () => {
      if (events.length === 1) queue.add([ONE.key]);
      return Promise.resolve(NEAR);
    };
    queue.add([ONE.key]);
    await queue.whenEmpty();
    expect(events.filter((event) => event.startsWith("ask"))).toHaveLength(2);
  });

  test("reads a peer whenever it was added, also as the queue is about to be empty", async () => {
    for (let turns = 0; turns < 20; turns++) {
      events.length = 0;
      queue.add([ONE.key]);
      for (let turn = 0; turn < turns; turn++) await Promise.resolve();
      queue.add([TWO.key]);
      await queue.whenEmpty();
      expect(events.at(-1)).toBe("read node-2 dev eth0");
    }
  });

  test.each(["succeeds", "fails"])(
    "reports nothing of a peer whose lease has changed when its look-up %s",
    async (how) => {
      answer = () => {
        peers.set(ONE.key, { ...ONE, changed: 9n });
        return how === "fails" ? Promise.reject(new Error("ENOBUFS")) : Promise.resolve(NEAR);
      };
      queue.add([ONE.key]);
      await queue.whenEmpty();
      await clock.advance(5000);
      expect(events).toEqual(["ask node-1"]);
    },
  );

  test("reports a failure and tries again after a second, until it succeeds", async () => {
    answer = () => Promise.reject(new Error("ENOBUFS"));
    queue.add([ONE.key, TWO.key]);
    await queue.whenEmpty();
    answer = () => Promise.resolve(NEAR);
    await clock.advance(999);
    expect(events).toHaveLength(4);
    await clock.advance(1);
    expect(events.slice(1)).toEqual([
      "failed node-1 ENOBUFS",
      "ask node-2",
      "failed node-2 ENOBUFS",
      "ask node-1",
      "read node-1 dev eth0",
      "ask node-2",
      "read node-2 dev eth0",
    ]);
    await clock.advance(5000);
    expect(events).toHaveLength(8);
  });

  test("tries nothing again when it is disposed, even if the last look-up fails then", async () => {
    const answered = Promise.withResolvers<PeerReachability>();
    answer = () => answered.promise;
    queue.add([ONE.key, TWO.key]);
    const disposed = queue[Symbol.asyncDispose]();
    const timers = spyOn(clock, "setTimer");
    answered.reject(new Error("ENOBUFS"));
    await disposed;
    expect(timers).not.toHaveBeenCalled();
    answer = () => Promise.resolve(NEAR);
    await clock.advance(5000);
    queue.add([THREE.key]);
    await queue.whenEmpty();
    expect(events).toEqual(["ask node-1", "failed node-1 ENOBUFS"]);
  });
});
