/** Renewals on a stream that stays open, with a server that does whatever a test wants. */

import { afterEach, beforeEach, expect, test } from "bun:test";
import { createServer, type Http2Server, type ServerHttp2Stream } from "node:http2";
import type { AddressInfo } from "node:net";
import { systemClock } from "../../../src/base/clock.ts";
import { frame, MessageFrames } from "../../../src/etcd/api/message_frames.ts";
import type { Attempt } from "../../../src/etcd/client/calls.ts";
import { type EtcdEndpoint, parseEndpoints } from "../../../src/etcd/client/endpoint.ts";
import { Code } from "../../../src/etcd/client/grpc_error.ts";
import { GrpcTransport } from "../../../src/etcd/client/grpc_transport.ts";
import { SessionManager } from "../../../src/etcd/client/http2_session.ts";
import { LeaseRenewals } from "../../../src/etcd/client/lease_renewals.ts";
import { eventually } from "../../support/wait.ts";

const LONG_MS = 600_000;

interface ServedStream {
  readonly token: string | undefined;
  readonly stream: ServerHttp2Stream;
  /** The leases that were to be renewed on it. */
  readonly ids: number[];
  isClosed: boolean;
}

let server: Http2Server;
let streams: ServedStream[];
/** The response to a request on a stream; `undefined` for none. */
let answer: (request: { id: number; isFirst: boolean }) => Uint8Array | undefined;
let manager: SessionManager;
let transport: GrpcTransport;
let renewals: LeaseRenewals;

/** A response with the TTL 60. */
function ttl60(id: number): Uint8Array {
  return Uint8Array.of(16, id, 24, 60);
}

beforeEach(async () => {
  streams = [];
  answer = ({ id }) => ttl60(id);
  server = createServer();
  server.on("stream", (stream, headers) => serve(stream as ServerHttp2Stream, headers["token"]));
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  const endpoint = parseEndpoints([url], { defaultScheme: "http" })[0] as EtcdEndpoint;
  manager = new SessionManager(endpoint, {
    material: undefined,
    timing: { pingIntervalMs: LONG_MS, pingTimeoutMs: LONG_MS },
    clock: systemClock,
  });
  transport = new GrpcTransport(manager);
  renewals = new LeaseRenewals(systemClock);
});

afterEach(() => {
  manager.abort();
  server.close();
});

function serve(stream: ServerHttp2Stream, token: string | string[] | undefined): void {
  const served: ServedStream = {
    token: token as string | undefined,
    stream,
    ids: [],
    isClosed: false,
  };
  streams.push(served);
  const frames = new MessageFrames(() => {});
  stream.on("error", () => {});
  stream.on("close", () => served.isClosed = true);
  stream.respond({ ":status": 200, "content-type": "application/grpc" }, { waitForTrailers: true });
  stream.on("wantTrailers", () => stream.sendTrailers({ "grpc-status": "0" }));
  stream.on("end", () => stream.end());
  stream.on("data", (chunk: Uint8Array) => {
    frames.add(chunk);
    for (let bytes = frames.message(); bytes; bytes = frames.message()) {
      const id = bytes[1] ?? 0;
      served.ids.push(id);
      const response = answer({ id, isFirst: served.ids.length === 1 });
      if (response !== undefined) stream.write(frame(response));
    }
  });
}

function renew(
  id: number,
  { token, timeoutMs = LONG_MS, signal = new AbortController().signal }: {
    readonly token?: string;
    readonly timeoutMs?: number;
    readonly signal?: AbortSignal;
  } = {},
): Promise<bigint> {
  const header = { hasleader: "true", ...(token !== undefined && { token }) };
  const attempt = { transport, header, signal, timeoutMs };
  return renewals.renew(attempt as unknown as Attempt, BigInt(id));
}

function requests(): number[][] {
  return streams.map(({ ids }) => ids);
}

/** The client has noticed that its stream has ended. */
async function untilNoCalls(): Promise<void> {
  await eventually("the end of the call", 20_000, () => manager.state !== "open");
}

test("renewals of any lease are messages of one call, and 0 is a lease that is gone", async () => {
  expect(await renew(5)).toBe(60n);
  expect(await renew(5)).toBe(60n);
  answer = ({ id }) => Uint8Array.of(16, id);
  expect(await renew(7)).toBe(0n);
  answer = ({ id }) => ttl60(id);
  expect(await renew(5)).toBe(60n);
  expect(requests()).toEqual([[5, 5, 7, 5]]);
});

test("a stream that ended between two renewals is replaced", async () => {
  const ends: ((stream: ServerHttp2Stream) => void)[] = [
    (stream) => stream.end(),
    (stream) => stream.close(8), // CANCEL
    (stream) => stream.session?.destroy(),
  ];
  for (const end of ends) {
    await renew(5);
    end(streams.at(-1)?.stream as ServerHttp2Stream);
    await untilNoCalls();
  }
  expect(await renew(5)).toBe(60n);
  expect(requests()).toEqual([[5], [5], [5], [5]]);
});

test("a stream of a connection that the server is closing is left", async () => {
  await renew(5);
  streams[0]?.stream.session?.goaway(0);
  await eventually("the GOAWAY", 20_000, () => manager.readySession === undefined);
  expect(await renew(5)).toBe(60n);
  expect(requests()).toEqual([[5], [5]]);
  await eventually("the end of the old stream", 20_000, () => streams[0]?.isClosed === true);
});

test("a renewal that fails on a stream of an earlier one is repeated on a new one", async () => {
  await renew(5);
  const failures: ((stream: ServerHttp2Stream) => Uint8Array | undefined)[] = [
    (stream) => (stream.close(8), undefined),
    (stream) => (stream.end(), undefined),
    () => Uint8Array.of(16, 6, 24, 60), // of another lease
    () => Uint8Array.of(0xff),
  ];
  for (const failure of failures) {
    answer = ({ id, isFirst }) =>
      isFirst ? ttl60(id) : failure(streams.at(-1)?.stream as ServerHttp2Stream);
    expect(await renew(5)).toBe(60n);
  }
  expect(requests()).toEqual([[5, 5], [5, 5], [5, 5], [5, 5], [5]]);
});

test("after two late answers on kept streams, each renewal has a call of its own", async () => {
  answer = ({ id, isFirst }) => isFirst ? ttl60(id) : undefined;
  for (let renewal = 0; renewal < 5; renewal++) {
    expect(await renew(5, { timeoutMs: 200 })).toBe(60n);
  }
  expect(requests()).toEqual([[5, 5], [5, 5], [5], [5], [5]]);
  await untilNoCalls();
});

test("one late answer changes nothing", async () => {
  let isLate = false;
  answer = ({ id }) => isLate ? (isLate = false, undefined) : ttl60(id);
  for (const late of [false, true, false, true, false, true, false]) {
    isLate = late;
    expect(await renew(5, { timeoutMs: 200 })).toBe(60n);
  }
  expect(requests()).toEqual([[5, 5], [5, 5, 5], [5, 5, 5], [5, 5]]);
});

test("a new stream without a response fails in time, and is cancelled", async () => {
  answer = () => undefined;
  const failure = await renew(5, { timeoutMs: 100 }).then(() => undefined, (error) => error);
  expect(failure).toMatchObject({ code: Code.DeadlineExceeded });
  await eventually("the cancellation", 20_000, () => streams[0]?.isClosed === true);
  answer = ({ id }) => Uint8Array.of(16, id + 1, 24, 60);
  await expect(renew(5)).rejects.toThrow("lease 6 instead of 5");
  await untilNoCalls();
});

test("an aborted renewal has the reason of its signal, and is not repeated", async () => {
  await renew(5);
  answer = () => undefined;
  const stop = new AbortController();
  const renewal = renew(5, { signal: stop.signal });
  await eventually("the request", 20_000, () => streams[0]?.ids.length === 2);
  stop.abort(new Error("stopped"));
  await expect(renewal).rejects.toThrow("stopped");
  await eventually("the cancellation", 20_000, () => streams[0]?.isClosed === true);
  await expect(renew(5, { signal: stop.signal })).rejects.toThrow("stopped");
  expect(requests()).toEqual([[5, 5]]);
});

test("a new token is sent with a new stream, and the old one ends", async () => {
  await renew(5, { token: "a" });
  await renew(5, { token: "a" });
  await renew(5, { token: "b" });
  expect(streams.map(({ token, ids }) => [token, ids.length])).toEqual([["a", 2], ["b", 1]]);
  await eventually("the end of the old stream", 20_000, () => streams[0]?.isClosed === true);
});

test("renewals at the same moment do not wait for each other", async () => {
  await renew(5);
  answer = ({ id }) => id === 5 ? undefined : ttl60(id);
  const stop = new AbortController();
  const slow = renew(5, { signal: stop.signal });
  expect(await renew(7)).toBe(60n);
  stop.abort(new Error("stopped"));
  await expect(slow).rejects.toThrow("stopped");
});
