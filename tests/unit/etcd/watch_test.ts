/** Where a watch resumes, how it handles each failure, and how long it waits first. */

import { create, type MessageInitShape } from "@bufbuild/protobuf";
import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { Calls } from "../../../src/etcd/client/calls.ts";
import type { EtcdConnection } from "../../../src/etcd/client/etcd_connection.ts";
import type { EtcdKeyValue, EtcdWatch } from "../../../src/etcd/client/etcd.ts";
import { EtcdError } from "../../../src/etcd/client/etcd_error.ts";
import { Code, GrpcError } from "../../../src/etcd/client/grpc_error.ts";
import type { Transport } from "../../../src/etcd/client/grpc_transport.ts";
import { Event_EventType as EventType } from "../../../src/etcd/api/kv_pb.ts";
import {
  type WatchRequestSchema,
  type WatchResponse,
  WatchResponseSchema,
} from "../../../src/etcd/api/rpc_pb.ts";
import { watchPrefix } from "../../../src/etcd/client/watch.ts";
import { collectingLog } from "../../support/collecting_log.ts";
import { FakeClock, settle } from "../../support/fake_clock.ts";
import { scriptedKeyValue } from "../../support/scripted_etcd.ts";

const PREFIX = "/net/";
const utf8 = (text: string) => new TextEncoder().encode(text);

type Request = MessageInitShape<typeof WatchRequestSchema>;
type Response = Exclude<MessageInitShape<typeof WatchResponseSchema>, WatchResponse>;

/** The server's side of one stream. */
class Stream {
  readonly member: string;
  readonly atMs: number;
  readonly signal: AbortSignal;
  readonly request: Request;
  readonly #queue: (Response | Error | undefined)[] = [];
  #wake = Promise.withResolvers<void>();

  constructor(member: string, signal: AbortSignal, request: Request) {
    this.member = member;
    this.atMs = clock.nowMs() - beginMs;
    this.signal = signal;
    this.request = request;
  }

  get startRevision(): bigint | undefined {
    return (this.request.requestUnion?.value as { startRevision: bigint } | undefined)
      ?.startRevision;
  }

  send(response: Response): void {
    this.#push({ header: header(), ...response });
  }

  put(key: string, modRevision: bigint, at: bigint = modRevision): void {
    revision = at;
    this.send({ events: [{ kv: scriptedKeyValue(key, { modRevision }) }] });
  }

  fail(error: Error): void {
    this.#push(error);
  }

  end(): void {
    this.#push(undefined);
  }

  #push(item: Response | Error | undefined): void {
    this.#queue.push(item);
    this.#wake.resolve();
  }

  async *responses(): AsyncGenerator<WatchResponse> {
    const canceled = () => this.#push(new GrpcError("canceled", Code.Canceled));
    this.signal.addEventListener("abort", canceled);
    for (;;) {
      while (this.#queue.length > 0) {
        const item = this.#queue.shift();
        if (item === undefined) return;
        if (item instanceof Error) throw item;
        yield create(WatchResponseSchema, item);
      }
      await this.#wake.promise;
      this.#wake = Promise.withResolvers();
    }
  }
}

const beginMs = new FakeClock().nowMs();
let clock: FakeClock;
let streams: Stream[];
let revision: bigint;
let clusterId: bigint;
let keyValues: EtcdKeyValue[];
/** When all keys were read. */
let reads: number[];
let readFault: (() => Error | undefined) | undefined;
/** What the server does with a new stream. */
let greet: (stream: Stream) => void;
/** Why a member cannot be reached. */
let openFault: () => Error | undefined;
let calls: Calls;
let stop: AbortController;
let events: EtcdWatch[];
let ended: Promise<void>;
let logging: ReturnType<typeof collectingLog>;

const header = () => ({ clusterId, memberId: 1n, revision, raftTerm: 1n });
const confirm = (stream: Stream) => stream.send({ created: true });

beforeEach(() => {
  clock = new FakeClock(() => 0);
  [streams, events, reads, keyValues] = [[], [], [], []];
  [revision, clusterId] = [10n, 7n];
  readFault = undefined;
  greet = confirm;
  openFault = () => undefined;
  stop = new AbortController();
  logging = collectingLog();
});

afterEach(async () => {
  // Each stream but the last has made room for the next one.
  expect(streams.slice(0, -1).filter(({ signal }) => !signal.aborted)).toEqual([]);
  stop.abort();
  await ended;
  // No part of the watch remains.
  expect(streams.filter(({ signal }) => !signal.aborted)).toEqual([]);
});

function connection(name: string, port: number): EtcdConnection {
  const url = `http://${name}:${port}`;
  const transport = {
    stream: (
      _method: unknown,
      request: Request,
      { signal, keepOpen }: { signal: AbortSignal; keepOpen: boolean },
    ) => {
      // etcd ends a watch when the client's side ends.
      expect(keepOpen).toBe(true);
      const stream = new Stream(name, signal, request);
      streams.push(stream);
      greet(stream);
      return Promise.resolve(stream.responses());
    },
  } as unknown as Transport;
  const open = () => {
    const fault = openFault();
    return fault === undefined ? Promise.resolve(transport) : Promise.reject(fault);
  };
  return {
    endpoint: { url, secure: false, host: name, port, hasPort: true },
    hasResponded: true,
    open,
    networkChanged: () => Promise.resolve(true),
    [Symbol.dispose]: () => {},
  } as unknown as EtcdConnection;
}

/** Begins to watch, in the cluster of members with these names. */
async function watch({ members = ["a"], attemptMs = 60_000 } = {}): Promise<void> {
  calls = new Calls({
    connections: members.map((name) => connection(name, 2379)),
    credentials: undefined,
    clock,
    timing: { attemptMs, retryForMs: 0 },
  });
  const snapshot = () => {
    reads.push(clock.nowMs() - beginMs);
    const fault = readFault?.();
    return fault === undefined
      ? Promise.resolve({ keyValues, revision, clusterId })
      : Promise.reject(fault);
  };
  ended = (async () => {
    for await (
      const event of watchPrefix(
        { calls, snapshot, clock, log: logging.log },
        PREFIX,
        stop.signal,
      )
    ) events.push(event);
  })();
  await settle();
}

const last = () => streams.at(-1) as Stream;
const shown = () =>
  events.map((event) =>
    event.kind === "snapshot"
      ? `snapshot ${event.revision}`
      : event.kind === "put"
      ? `put ${event.keyValue.key} ${event.keyValue.modRevision}`
      : `delete ${event.key} ${event.modRevision}`
  );
const logged = () => logging.records.map(({ level, msg }) => `${level} ${msg}`);
/** The pauses between the streams. */
const pauses = () => streams.slice(1).map(({ atMs }, i) => atMs - (streams[i] as Stream).atMs);
const FAILS = "watching /net/ in etcd failed";

describe("a watch delivers", () => {
  test("all keys, and then every change after them", async () => {
    keyValues = [{ key: "/net/a" } as EtcdKeyValue];
    await watch();
    expect(events).toEqual([{ kind: "snapshot", keyValues, revision: 10n }]);
    expect(last().request).toEqual({
      requestUnion: {
        case: "createRequest",
        value: {
          key: utf8("/net/"),
          rangeEnd: utf8("/net0"),
          startRevision: 11n,
          progressNotify: true,
        },
      },
    });
    revision = 12n;
    last().send({
      events: [
        { type: EventType.PUT, kv: scriptedKeyValue("/net/a", { modRevision: 11n, value: "x" }) },
        { type: EventType.DELETE, kv: scriptedKeyValue("/net/b", { modRevision: 12n }) },
      ],
    });
    await settle();
    expect(events.slice(1)).toMatchObject([
      { kind: "put", keyValue: { key: "/net/a", value: "x", modRevision: 11n } },
      { kind: "delete", key: "/net/b", modRevision: 12n },
    ]);
    expect([reads, logged()]).toEqual([[0], []]);
  });

  test("nothing more once it is stopped, and does not fail", async () => {
    await watch();
    stop.abort();
    await ended;
    expect([logged(), shown()]).toEqual([[], ["snapshot 10"]]);
    await watch();
    expect(shown()).toEqual(["snapshot 10"]);
    expect(reads).toEqual([0]);
  });

  test("nothing more once it is stopped while it reads, or pauses", async () => {
    readFault = () => {
      stop.abort();
      return new Error("stopped");
    };
    await watch();
    await ended;
    expect(logged()).toEqual([]);
    stop = new AbortController();
    readFault = () => new Error("away");
    await watch();
    stop.abort();
    await ended;
    expect(logged()).toEqual([`warn ${FAILS}: away`]);
    expect(reads).toHaveLength(2);
  });
});

describe("a watch that is cut resumes", () => {
  /** Where it resumes after this. */
  async function resumed(script: (stream: Stream) => void): Promise<bigint | undefined> {
    await watch();
    script(last());
    await settle();
    last().end();
    await clock.advance(50);
    expect(streams).toHaveLength(2);
    expect(reads).toHaveLength(1);
    return last().startRevision;
  }

  test("after the snapshot, if nothing has come", async () => {
    expect(await resumed(() => {})).toBe(11n);
    expect(logged()).toEqual([
      `warn ${FAILS}: the stream ended (http://a:2379)`,
      "info watching /net/ in etcd works again after 1 failure in 50 ms",
    ]);
  });

  test("after the last event, not at the revision of the store", async () => {
    expect(await resumed((stream) => stream.put("/net/a", 11n, 20n))).toBe(12n);
  });

  test("after the revision up to which etcd says that all was sent", async () => {
    const progress = (stream: Stream) => {
      revision = 20n;
      stream.send({});
    };
    expect(await resumed(progress)).toBe(21n);
  });

  test("not before where it was, whatever a member that lags behind says", async () => {
    expect(await resumed((stream) => stream.send({ header: { ...header(), revision: 5n } })))
      .toBe(11n);
  });

  test("at another member", async () => {
    await watch({ members: ["a", "b"] });
    last().end();
    await clock.advance(50);
    last().fail(new GrpcError("http/2 stream closed with error", Code.Unavailable));
    await clock.advance(100);
    expect(streams.map(({ member }) => member)).toEqual(["a", "b", "a"]);
    expect(logged()[0]).toContain("the stream ended (http://a:2379)");
    expect(logged()[2]).toContain("connection closed (http://b:2379)");
  });

  test("after a stream that ends before it is confirmed, or is not confirmed", async () => {
    greet = (stream) => {
      if (streams.length === 1) stream.end();
      else stream.send({ created: streams.length > 2 });
    };
    await watch();
    await clock.advance(1_000);
    expect(streams).toHaveLength(3);
    expect(logged().slice(0, 2)).toEqual([
      `warn ${FAILS}: the stream ended (http://a:2379)`,
      `warn ${FAILS}: etcd did not confirm the watch (http://a:2379)`,
    ]);
    last().put("/net/a", 11n);
    await settle();
    expect(shown()).toEqual(["snapshot 10", "put /net/a 11"]);
  });
});

describe("a member that does not confirm in time", () => {
  test("is left for another one", async () => {
    greet = (stream) => stream.member === "a" ? undefined : confirm(stream);
    await watch({ members: ["a", "b"], attemptMs: 20 });
    await clock.advance(19);
    expect(logged()).toEqual([]);
    await clock.advance(1);
    expect(logged()).toEqual([`warn ${FAILS}: no response in time (http://a:2379)`]);
    await clock.advance(50);
    expect(streams.map(({ member }) => member)).toEqual(["a", "b"]);
  });

  test("has as much time as it wants once it has confirmed", async () => {
    await watch({ attemptMs: 20 });
    await clock.advance(60);
    last().put("/net/a", 11n);
    await settle();
    expect(shown()).toEqual(["snapshot 10", "put /net/a 11"]);
    expect(last().signal.aborted).toBe(false);
  });

  test("is no failure if the watch is stopped meanwhile", async () => {
    greet = () => {};
    await watch();
    stop.abort();
    await ended;
    expect(logged()).toEqual([]);
  });
});

describe("the pause after a failure", () => {
  const closed = () => new GrpcError("http/2 stream closed with error", Code.Unavailable);
  const failOnOpen = (stream: Stream) => stream.fail(closed());

  test("doubles up to two seconds while something answers", async () => {
    greet = failOnOpen;
    await watch();
    await clock.advance(10_000);
    expect(pauses().slice(0, 8)).toEqual([50, 100, 200, 400, 800, 1600, 2000, 2000]);
  });

  test("doubles up to one second while nothing is reached", async () => {
    const refused = new EtcdError("x", {
      kind: "unsent",
      reason: "connection refused",
      symptom: "refused",
    });
    readFault = () => refused;
    await watch();
    await clock.advance(5_000);
    const between = reads.slice(1).map((atMs, i) => atMs - (reads[i] as number));
    expect(between.slice(0, 7)).toEqual([50, 100, 200, 400, 800, 1000, 1000]);
  });

  test("begins again after a stream that has brought something", async () => {
    greet = failOnOpen;
    await watch();
    greet = confirm;
    await clock.advance(150); // One failure more, of the stream that the pause of 50 ms preceded.
    last().put("/net/a", 11n);
    await settle();
    const count = streams.length;
    last().end();
    await clock.advance(49);
    expect(streams).toHaveLength(count);
    await clock.advance(1);
    expect(streams).toHaveLength(count + 1);
  });

  test.each([[10_000, 200], [10_001, 50]])(
    "after a silent stream of %d ms is %d ms",
    async (livedMs, pauseMs) => {
      greet = failOnOpen;
      await watch();
      await clock.advance(50);
      greet = confirm;
      await clock.advance(100);
      expect(streams).toHaveLength(3);
      await clock.advance(livedMs);
      last().end();
      await clock.advance(pauseMs - 1);
      expect(streams).toHaveLength(3);
      await clock.advance(1);
      expect(streams).toHaveLength(4);
    },
  );

  test("ends early when the network changes, and is short again then", async () => {
    greet = failOnOpen;
    await watch();
    await clock.advance(1_600);
    const count = streams.length;
    await calls.networkChanged(new Set());
    await clock.advance(0);
    expect(streams).toHaveLength(count + 1);
    await clock.advance(50);
    expect(streams).toHaveLength(count + 2);
  });

  test.each([[0, 20_000], [0.5, 15_000]])(
    "after a refusal is long: with a chance of %d, %d ms",
    async (chance, pauseMs) => {
      clock.random = () => chance;
      greet = (stream) =>
        stream.send({
          canceled: true,
          cancelReason: "rpc error: code = PermissionDenied desc = etcdserver: permission denied",
        });
      await watch();
      expect(logged()).toEqual([
        `error ${FAILS}: permission denied: grant the user a role with readwrite on the keys ` +
        "under --etcd-prefix (etcdctl role grant-permission) (http://a:2379)",
      ]);
      await clock.advance(pauseMs - 1);
      expect(streams).toHaveLength(1);
      await clock.advance(1);
      expect(streams).toHaveLength(2);
    },
  );
});

describe("a watch that etcd ends", () => {
  test("says etcd's reason, and resumes", async () => {
    await watch();
    last().send({ canceled: true, cancelReason: "rpc error: code = Unknown desc = too slow" });
    await clock.advance(50);
    expect(logged()[0]).toBe(`warn ${FAILS}: too slow (http://a:2379)`);
    last().send({
      canceled: true,
      cancelReason: "seen: rpc error: code = Unknown desc = too slow",
    });
    await clock.advance(100);
    expect(logged().at(-2)).toContain("seen: rpc error: code = Unknown desc = too slow");
    expect(last().startRevision).toBe(11n);
    expect(streams).toHaveLength(3);
  });

  test("without a reason says so", async () => {
    await watch();
    last().send({ canceled: true });
    await settle();
    expect(logged()[0]).toContain("etcd ended the watch without a reason");
  });
});

describe("all keys are read again", () => {
  const again = "reading all keys under /net/ again";
  const compacted = { canceled: true, compactRevision: 30n };

  test("after a compaction while disconnected, which is no failure", async () => {
    await watch({ members: ["a", "b"] });
    revision = 40n;
    last().send(compacted);
    await clock.advance(50);
    expect(shown()).toEqual(["snapshot 10", "snapshot 40"]);
    expect(last().startRevision).toBe(41n);
    expect(streams.map(({ member }) => member)).toEqual(["a", "a"]);
    expect(logging.records).toMatchObject([{
      level: "info",
      prefix: PREFIX,
      msg: `etcd compacted revisions that were not received yet: ${again}`,
    }]);
  });

  test("after a compaction that the confirmation reports", async () => {
    greet = (stream) => streams.length > 1 ? confirm(stream) : stream.send(compacted);
    await watch();
    await clock.advance(50);
    greet = (stream) => stream.send({ created: true, ...compacted });
    last().end();
    await clock.advance(50);
    expect(shown()).toEqual(["snapshot 10", "snapshot 10"]);
    greet = confirm;
    await clock.advance(100);
    expect(shown()).toEqual(["snapshot 10", "snapshot 10", "snapshot 10"]);
    expect(logged().filter((line) => line.includes(again))).toHaveLength(2);
  });

  test("less and less often, down to every half minute", async () => {
    greet = (stream) => stream.send(compacted);
    await watch();
    await clock.advance(150_000);
    expect(pauses().slice(0, 12)).toEqual([
      ...[50, 100, 200, 400, 800, 1600, 3200, 6400, 12_800, 25_600, 30_000, 30_000],
    ]);
    greet = confirm;
    await clock.advance(30_000);
    const calm = clock.nowMs();
    await clock.advance(60_001);
    const count = streams.length;
    last().send(compacted);
    await clock.advance(50);
    expect(streams).toHaveLength(count + 1);
    expect(clock.nowMs() - calm).toBe(60_051);
  });

  test("not as if the minute had passed when it has not", async () => {
    greet = (stream) => streams.length === 1 ? stream.send(compacted) : confirm(stream);
    await watch();
    await clock.advance(60_000);
    last().send(compacted);
    await clock.advance(99);
    expect(streams).toHaveLength(2);
    await clock.advance(1);
    expect(streams).toHaveLength(3);
  });

  test("after an answer that cannot be true, from another member", async () => {
    await watch({ members: ["a", "b"] });
    last().put("/other", 11n);
    await clock.advance(50);
    expect(shown()).toEqual(["snapshot 10", "snapshot 11"]);
    expect(streams.map(({ member }) => member)).toEqual(["a", "b"]);
    expect(logged()[0]).toBe(
      `warn ${FAILS}: etcd sent an event of "/other", which is not watched: ${again}`,
    );
  });

  test("before anything is taken from a response of which a part cannot be true", async () => {
    await watch();
    revision = 12n;
    last().send({
      events: [12n, 11n].map((modRevision) => ({
        kv: scriptedKeyValue("/net/a", { modRevision }),
      })),
    });
    await settle();
    expect(shown()).toEqual(["snapshot 10"]);
    expect(logged()[0]).toContain("at revision 11 after one at 11");
  });

  test("where another cluster has taken etcd's place", async () => {
    await watch();
    greet = (stream) => {
      clusterId = 0xabcn;
      confirm(stream);
    };
    last().end();
    await clock.advance(100);
    expect(logged()).toContain(
      `info etcd's cluster ID changed from 7 to abc: ${again}`,
    );
    expect(shown()).toEqual(["snapshot 10", "snapshot 10"]);
    expect(reads).toHaveLength(2);
  });

  test("where the confirmation has an invalid revision", async () => {
    greet = (stream) =>
      streams.length === 1
        ? stream.send({ created: true, header: { ...header(), revision: 0n } })
        : confirm(stream);
    await watch();
    expect(logged()).toEqual([
      `warn ${FAILS}: etcd's response has the invalid revision 0: ${again}`,
    ]);
    await clock.advance(50);
    expect(shown()).toEqual(["snapshot 10", "snapshot 10"]);
  });

  test("where etcd was restored from a backup, but not where a member lags behind", async () => {
    const behind = 9n;
    greet = (stream) => stream.send({ created: true, header: { ...header(), revision: behind } });
    await watch();
    // A quorum says that the history is as long as before.
    expect(reads).toEqual([0, 0]);
    expect(logged()).toEqual([]);
    last().put("/net/a", 11n);
    await settle();
    expect(shown()).toEqual(["snapshot 10", "put /net/a 11"]);
    revision = 9n;
    last().end();
    await clock.advance(50);
    expect(logged().at(-1)).toBe(
      `info etcd's revision went back from 11 to 9: ${again}`,
    );
    await clock.advance(50);
    expect(shown().at(-1)).toBe("snapshot 9");
    expect(last().startRevision).toBe(10n);
  });
});
