/** Lists and watches of nodes: when they are repeated, and which failures are reported. */

import { expect, test } from "bun:test";
import type { KubeNodeEvent } from "../../../../src/kube/kube_api.ts";
import type { KubeError, KubeFailure } from "../../../../src/kube/kube_error.ts";
import { followNodes } from "../../../../src/subnet/kube/node_events.ts";
import { collectingLog } from "../../../support/collecting_log.ts";
import { FakeClock } from "../../../support/fake_clock.ts";
import { kubeError } from "../../../support/fake_kube.ts";

/** What the server sends, then how the watch ends; without an end it stays open. */
type Watch = readonly (KubeNodeEvent | "opened" | "end" | KubeError | Error)[];

interface Script {
  /** One for each watch; the last one stays open. */
  readonly watches: readonly Watch[];
  /** One for each list that fails; the others succeed. */
  readonly lists?: readonly KubeError[];
  readonly nodes?: number;
  readonly random?: number;
}

/** Follows the nodes of a scripted server, and records each call with its time. */
class Followed {
  readonly clock: FakeClock;
  readonly calls: string[] = [];
  readonly refusals: (string | undefined)[] = [];
  readonly stop = new AbortController();
  readonly ended: Promise<unknown>;
  readonly #lines = collectingLog("info");
  readonly #lists: KubeError[];
  readonly #watches: Watch[];

  constructor({ watches, lists = [], nodes = 1, random = 0 }: Script) {
    this.clock = new FakeClock(() => random);
    this.#lists = [...lists];
    this.#watches = [...watches];
    const beginMs = this.clock.nowMs();
    const called = (call: string) =>
      void this.calls.push(`${this.clock.nowMs() - beginMs} ${call}`);
    this.ended = followNodes({
      what: "following",
      clock: this.clock,
      log: this.#lines.log,
      list: () => {
        called("list");
        const error = this.#lists.shift();
        return error === undefined ? Promise.resolve("1") : Promise.reject(error);
      },
      watch: (revision, onOpened) => {
        called(`watch ${revision}`);
        return this.#watch(onOpened);
      },
      put: ({ name }) => called(`put ${name}`),
      delete: ({ name }) => called(`delete ${name}`),
      count: () => nodes,
      onRefused: (problem) => void this.refusals.push(problem),
    }, this.stop.signal).catch((error) => error);
  }

  lines(): string[] {
    return this.#lines.records.map(({ level, msg }) => `${level} ${msg}`);
  }

  /** The calls of the first seconds. */
  async callsWithin(seconds: number): Promise<string[]> {
    await this.clock.advance(seconds * 1000);
    this.stop.abort();
    await this.ended;
    return this.calls;
  }

  async *#watch(onOpened: () => void): AsyncGenerator<KubeNodeEvent> {
    const { signal } = this.stop;
    for (const step of this.#watches.shift() ?? []) {
      if (step === "end") return;
      if (step instanceof Error) throw step;
      if (step === "opened") onOpened();
      else yield step;
    }
    const aborted = Promise.withResolvers<void>();
    signal.addEventListener("abort", () => aborted.resolve());
    await aborted.promise;
    signal.throwIfAborted();
  }
}

const metadata = { uid: "u", createdMs: 0, annotations: {}, managedFields: [] };
const put = (name: string, resourceVersion: string): KubeNodeEvent => ({
  kind: "put",
  node: { ...metadata, name, resourceVersion },
});
const deleted = (name: string, resourceVersion: string): KubeNodeEvent => ({
  kind: "delete",
  node: { ...metadata, name, resourceVersion },
});
const bookmark = (resourceVersion: string): KubeNodeEvent => ({
  kind: "bookmark",
  resourceVersion,
});
const failed = (kind: KubeFailure, message: string = kind) => kubeError(kind, message);
const times = (count: number, watch: Watch): Watch[] => Array.from({ length: count }, () => watch);

test("a watch that is cut continues from its last event", async () => {
  const cut = failed("unreachable");
  const followed = new Followed({
    watches: [[put("a", "2"), cut], [deleted("a", "3"), cut], [bookmark("4"), cut], [cut]],
  });
  expect(await followed.callsWithin(3)).toEqual([
    "0 list",
    "0 watch 1",
    "0 put a",
    "500 watch 2",
    "500 delete a",
    "1000 watch 3",
    "1500 watch 4",
    "2500 watch 4",
  ]);
});

test("a watch that the server closes is opened again at once, or after one second", async () => {
  const followed = new Followed({ watches: [["end"], []] });
  expect(await followed.callsWithin(10)).toEqual(["0 list", "0 watch 1", "1000 watch 1"]);
  expect(followed.lines()).toEqual([]);
});

test("an error that is not the API's ends everything", async () => {
  const bug = new TypeError("a bug");
  expect(await new Followed({ watches: [[bug]] }).ended).toBe(bug);
});

test("an abort ends a watch, a pause, and whatever the watch has received already", async () => {
  const open = new Followed({ watches: [[]] });
  await open.clock.advance(1000);
  open.stop.abort("enough");
  expect(await open.ended).toBe("enough");

  const pausing = new Followed({ watches: [[failed("server")]] });
  await pausing.clock.advance(100);
  pausing.stop.abort("enough");
  expect(await pausing.ended).toBe("enough");

  const receiving = new Followed({ watches: [[put("a", "2"), put("b", "3")]] });
  receiving.calls.push = (call: string) => {
    if (call.includes("put")) receiving.stop.abort("enough");
    return Array.prototype.push.call(receiving.calls, call);
  };
  expect(await receiving.ended).toBe("enough");
  expect(receiving.calls).toEqual(["0 list", "0 watch 1", "0 put a"]);
});

test("failures are logged once, and repeated at growing intervals up to five seconds", async () => {
  const refused = failed("throttled", "busy");
  const followed = new Followed({ watches: [...times(6, [refused]), [bookmark("2")]] });
  expect(await followed.callsWithin(30)).toEqual([
    "0 list",
    "0 watch 1",
    "500 watch 1",
    "1500 watch 1",
    "3500 watch 1",
    "7500 watch 1",
    "12500 watch 1",
    "17500 watch 1",
  ]);
  expect(followed.lines()).toEqual([
    "warn following failed: busy",
    "info following works again after 6 failures in 18 s",
  ]);
});

test("a server that asks for a longer pause gets it", async () => {
  const busy = kubeError("throttled", "busy", 20_000);
  const followed = new Followed({ watches: [[busy], []] });
  expect(await followed.callsWithin(30)).toEqual(["0 list", "0 watch 1", "20000 watch 1"]);
});

test("a list that fails is repeated, and only the list", async () => {
  const followed = new Followed({ watches: [[]], lists: [failed("server"), failed("server")] });
  expect(await followed.callsWithin(10))
    .toEqual(["0 list", "500 list", "1500 list", "1500 watch 1"]);
});

test.each([
  ["100 nodes: 0.2 s at most", 100, 100],
  ["a million nodes: 10 s at most", 1_000_000, 5000],
])("of expired changes, the list comes at a random time, with %s", async (_, nodes, pauseMs) => {
  const expired = failed("expired");
  const followed = new Followed({ watches: [[bookmark("2"), expired], []], nodes, random: 0.5 });
  expect(await followed.callsWithin(20))
    .toEqual(["0 list", "0 watch 1", `${pauseMs} list`, `${pauseMs} watch 1`]);
  expect(followed.lines()).toEqual([]);
});

test("changes that expire again before an event has come are a failure", async () => {
  const expired = failed("expired");
  const followed = new Followed({ watches: [[bookmark("2"), expired], [expired], [expired], []] });
  expect(await followed.callsWithin(20)).toEqual([
    "0 list",
    "0 watch 1",
    "0 list",
    "0 watch 1",
    "500 list",
    "500 watch 1",
    "1500 list",
    "1500 watch 1",
  ]);
  expect(followed.lines()).toEqual(["warn following failed: expired"]);
});

test("changes that expire again after an event are not", async () => {
  const expiring: Watch = [bookmark("2"), failed("expired")];
  const followed = new Followed({ watches: [...times(3, expiring), []], random: 0.5 });
  const lists = (await followed.callsWithin(20)).filter((call) => call.includes("list"));
  expect(lists).toEqual(["0 list", "1 list", "2 list", "3 list"]);
  expect(followed.lines()).toEqual([]);
});

test("changes that expire before the first event are a failure", async () => {
  const followed = new Followed({ watches: [[failed("expired")], []] });
  expect(await followed.callsWithin(20))
    .toEqual(["0 list", "0 watch 1", "500 list", "500 watch 1"]);
  expect(followed.lines()).toEqual(["warn following failed: expired"]);
});

test.each<KubeFailure>(["server", "protocol", "invalid", "conflict"])(
  "a revision that the server refuses four times (%s) leads to a list",
  async (kind) => {
    const followed = new Followed({ watches: times(8, [failed(kind)]) });
    const calls = (await followed.callsWithin(30)).map((call) => call.split(" ")[1]);
    const round = ["list", ...times(4, []).map(() => "watch")];
    expect(calls.slice(0, 11)).toEqual([...round, ...round, "list"]);
  },
);

test("an event in between proves that the revision is not refused", async () => {
  const refused = failed("server");
  const followed = new Followed({
    watches: [...times(3, [refused]), [bookmark("2"), refused], ...times(2, [refused]), []],
  });
  const lists = (await followed.callsWithin(30)).filter((call) => call.includes("list"));
  expect(lists).toEqual(["0 list"]);
});

test.each<KubeFailure>(["unreachable", "throttled", "forbidden", "unauthorized", "credentials"])(
  "a failure that says nothing about the revision (%s) leads to no list",
  async (kind) => {
    const followed = new Followed({ watches: times(10, [failed(kind)]) });
    const lists = (await followed.callsWithin(60)).filter((call) => call.includes("list"));
    expect(lists).toEqual(["0 list"]);
  },
);

test.each<KubeFailure>(["forbidden", "unauthorized"])(
  "a watch that is denied at the start (%s) is refused until one has been open for a second",
  async (kind) => {
    const followed = new Followed({ watches: [[failed(kind, "no")], ["opened"]] });
    await followed.clock.advance(500 + 999);
    expect(followed.refusals).toEqual(["following: no"]);
    await followed.clock.advance(1);
    expect(followed.refusals).toEqual(["following: no", undefined]);
    expect(followed.lines()).toEqual([
      "warn following failed: no",
      "info following works again after 1 failure in 2 s",
    ]);
  },
);

test("a watch that fails as soon as it is open has not worked", async () => {
  const followed = new Followed({ watches: times(10, ["opened", failed("throttled", "busy")]) });
  await followed.clock.advance(30_000);
  expect(followed.lines()).toEqual(["warn following failed: busy"]);
});

test("an abort ends the time that an open watch has to fail", async () => {
  const followed = new Followed({ watches: [["opened"]] });
  await followed.clock.advance(500);
  followed.stop.abort();
  await followed.ended;
  await followed.clock.advance(10_000);
  expect(followed.refusals).toEqual([]);
});

test("an event shows that the watch is permitted", async () => {
  const followed = new Followed({ watches: [[failed("forbidden", "no")], [bookmark("2")]] });
  await followed.clock.advance(600);
  expect(followed.refusals).toEqual(["following: no", undefined]);
});

test("a failure other than a denial is not a refusal", async () => {
  const followed = new Followed({ watches: times(10, [failed("server")]) });
  await followed.clock.advance(60_000);
  expect(followed.refusals.filter((problem) => problem !== undefined)).toEqual([]);
});

test("of a watch that has worked, a denial counts after ten seconds", async () => {
  const denied = failed("forbidden", "no");
  const followed = new Followed({ watches: [[bookmark("2"), denied], ...times(40, [denied])] });
  await followed.clock.advance(9_999);
  expect(followed.lines()).toEqual([]);
  expect(followed.calls.slice(1, 4)).toEqual(["0 watch 1", "500 watch 2", "1000 watch 2"]);
  await followed.clock.advance(1);
  expect(followed.lines()).toEqual(["warn following failed: no"]);
  expect(followed.refusals).toEqual([undefined, "following: no"]);
});

test.each<[string, Watch]>([
  ["an event", [bookmark("3"), failed("forbidden", "no")]],
  ["another failure", [failed("unreachable", "cut")]],
])("the ten seconds begin again after %s", async (_, between) => {
  const denied = failed("forbidden", "no");
  const followed = new Followed({
    watches: [[bookmark("2"), denied], ...times(12, [denied]), between, ...times(12, [denied])],
  });
  await followed.clock.advance(12_000);
  expect(followed.lines().filter((line) => line.includes("no"))).toEqual([]);
});
