/** Calls and their connection, with a server that sends whatever a test wants, on real sockets. */

import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import {
  createServer,
  type Http2Server,
  type ServerHttp2Session,
  type ServerHttp2Stream,
} from "node:http2";
import type { AddressInfo } from "node:net";
import { systemClock } from "../../../src/base/clock.ts";
import { frame } from "../../../src/etcd/api/message_frames.ts";
import { type EtcdEndpoint, parseEndpoints } from "../../../src/etcd/client/endpoint.ts";
import { EtcdError } from "../../../src/etcd/client/etcd_error.ts";
import { etcdMethods } from "../../../src/etcd/client/etcd_messages.ts";
import { Code, GrpcError } from "../../../src/etcd/client/grpc_error.ts";
import { GrpcTransport } from "../../../src/etcd/client/grpc_transport.ts";
import { SessionManager } from "../../../src/etcd/client/http2_session.ts";
import { TcpProxy } from "../../support/tcp_proxy.ts";
import { eventually } from "../../support/wait.ts";

const GRPC = { ":status": 200, "content-type": "application/grpc" };
const LONG_MS = 600_000;
/** A KeepAlive response with TTL 60. */
const ANSWER = Uint8Array.of(24, 60);

let server: Http2Server;
let serve: (stream: ServerHttp2Stream) => void;
let manager: SessionManager;
let transport: GrpcTransport;
let endpoint: EtcdEndpoint;
let pings: number;
/** The server's side of the last connection. */
let session: ServerHttp2Session;
let proxy: TcpProxy;

beforeEach(async () => {
  server = createServer();
  pings = 0;
  server.on("session", (opened) => {
    session = opened;
    opened.on("ping", () => pings++);
  });
  server.on("stream", (stream) => {
    stream.on("error", () => {});
    serve(stream as ServerHttp2Stream);
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  proxy = await TcpProxy.start((server.address() as AddressInfo).port);
  endpoint = parseEndpoints([proxy.url], { defaultScheme: "http" })[0] as EtcdEndpoint;
  connect({ pingIntervalMs: LONG_MS, pingTimeoutMs: LONG_MS });
});

afterEach(async () => {
  manager.abort();
  await proxy[Symbol.asyncDispose]();
  server.close();
});

function connect(timing: { pingIntervalMs: number; pingTimeoutMs: number }): void {
  manager = new SessionManager(endpoint, { material: undefined, timing, clock: systemClock });
  transport = new GrpcTransport(manager);
}

/** Sends these bytes as the body, and then the trailers. */
function respond(
  stream: ServerHttp2Stream,
  body: readonly Uint8Array[],
  trailers: Record<string, string> | undefined = { "grpc-status": "0" },
): void {
  stream.respond(GRPC, { waitForTrailers: true });
  stream.on(
    "wantTrailers",
    () => trailers === undefined ? stream.close() : stream.sendTrailers(trailers),
  );
  for (const bytes of body) stream.write(bytes);
  stream.end();
}

function call(timeoutMs?: number, signal?: AbortSignal) {
  return transport.unary(etcdMethods.leaseKeepAlive, { ID: 5n }, {
    header: { hasleader: "true" },
    timeoutMs,
    ...(signal && { signal }),
  });
}

async function failure(promise: Promise<unknown>): Promise<Error> {
  const error = await promise.then(() => undefined, (error) => error);
  if (!(error instanceof Error)) throw new Error(`an error is due, not ${error}`);
  return error;
}

test("a call has the path, metadata and deadline of gRPC, and one framed message", async () => {
  let headers: Record<string, unknown> = {};
  const body: Uint8Array[] = [];
  server.removeAllListeners("stream");
  server.on("stream", (stream, sent) => {
    headers = { ...sent };
    stream.on("data", (chunk) => body.push(chunk as Uint8Array));
    stream.on("end", () => respond(stream as ServerHttp2Stream, [frame(ANSWER)]));
  });
  expect((await call(5_000)).TTL).toBe(60n);
  expect(headers).toMatchObject({
    ":method": "POST",
    ":path": "/etcdserverpb.Lease/LeaseKeepAlive",
    "content-type": "application/grpc",
    te: "trailers",
    "grpc-timeout": "5000m",
    hasleader: "true",
  });
  expect([...Buffer.concat(body)]).toEqual([0, 0, 0, 0, 2, 8, 5]);
});

test("a message may arrive in any pieces, and several in one", async () => {
  const message = frame(ANSWER);
  serve = (stream) =>
    respond(stream, [
      ...[...message].map((byte) => Uint8Array.of(byte)),
      Buffer.concat([message, message]),
    ]);
  const responses = await transport.stream(etcdMethods.leaseKeepAlive, { ID: 5n }, { header: {} });
  const times: bigint[] = [];
  for await (const { TTL } of responses) times.push(TTL);
  expect(times).toEqual([60n, 60n, 60n]);
});

test("many messages wait for a slow reader, each once and in order", async () => {
  const count = 2_000;
  const messages = Array.from(
    { length: count },
    (_, i) => frame(Uint8Array.of(24, 0x80 | i & 0x7f, i >> 7)),
  );
  serve = (stream) => respond(stream, [Buffer.concat(messages)]);
  const responses = await transport.stream(etcdMethods.leaseKeepAlive, { ID: 5n }, { header: {} });
  let expected = 0;
  for await (const { TTL } of responses) {
    if (expected % 500 === 0) await Bun.sleep(5);
    expect(TTL).toBe(BigInt(expected++));
  }
  expect(expected).toBe(count);
});

describe("a response that is not valid gRPC", () => {
  test.each<[string, (stream: ServerHttp2Stream) => void, string, Code | undefined]>([
    [
      "has another HTTP status",
      (stream) => {
        stream.respond({ ":status": 404 });
        stream.end("<html>");
      },
      "HTTP 404",
      Code.Unimplemented,
    ],
    [
      "has another content type",
      (stream) => {
        stream.respond({ ":status": 200, "content-type": "text/html" });
        stream.end("<html>");
      },
      "unsupported content type text/html",
      Code.Unknown,
    ],
    [
      "is compressed",
      (stream) => {
        stream.respond({ ...GRPC, "grpc-encoding": "gzip" });
        stream.end();
      },
      "protocol error: unknown encoding gzip",
      Code.Internal,
    ],
    [
      "has a compressed message",
      (stream) => respond(stream, [Uint8Array.of(1, 0, 0, 0, 0)]),
      "protocol error: compressed message",
      Code.Internal,
    ],
    [
      "announces more than the limit",
      (stream) => respond(stream, [Uint8Array.of(0, 8, 0, 0, 1)]),
      "a response of 134217729 bytes is too large; the limit is 134217728",
      Code.ResourceExhausted,
    ],
    [
      "ends within a message",
      (stream) => respond(stream, [Uint8Array.of(0, 0, 0, 0, 9, 1)]),
      "protocol error: incomplete message",
      Code.Internal,
    ],
    [
      "has no message",
      (stream) => respond(stream, []),
      "protocol error: no response message",
      Code.Internal,
    ],
    [
      "has two messages",
      (stream) => respond(stream, [frame(ANSWER), frame(ANSWER)]),
      "protocol error: more than one response message",
      Code.Internal,
    ],
    [
      "has no status",
      (stream) => {
        stream.respond(GRPC);
        stream.end(frame(ANSWER));
      },
      "protocol error: missing status",
      Code.Internal,
    ],
    [
      "has a status that gRPC does not have",
      (stream) => respond(stream, [frame(ANSWER)], { "grpc-status": "99" }),
      "protocol error: unknown status 99",
      Code.Internal,
    ],
    [
      "is not protobuf",
      (stream) => respond(stream, [frame(Uint8Array.of(24, 0x80))]),
      "premature EOF",
      undefined,
    ],
  ])("%s", async (_what, script, text, code) => {
    serve = script;
    const error = await failure(call());
    expect(error).toBeInstanceOf(code === undefined ? RangeError : GrpcError);
    expect(error).toMatchObject({ message: text, ...(code !== undefined && { code }) });
    // The connection is still good.
    serve = (stream) => respond(stream, [frame(ANSWER)]);
    expect((await call()).TTL).toBe(60n);
  });
});

describe("a status", () => {
  test("is thrown with its text, after the messages before it", async () => {
    const trailers = { "grpc-status": "7", "grpc-message": "etcdserver: 100%25 %C3%BC" };
    serve = (stream) => respond(stream, [frame(ANSWER)], trailers);
    const responses = await transport.stream(etcdMethods.leaseKeepAlive, { ID: 5n }, {
      header: {},
    });
    expect((await responses.next()).value?.TTL).toBe(60n);
    const error = await failure(responses.next());
    expect(error).toMatchObject({ message: "etcdserver: 100% ü", code: Code.PermissionDenied });
    expect(await failure(responses.next())).toBe(error);
  });

  test("may be in the headers, and its text need not be encoded well", async () => {
    serve = (stream) => {
      stream.respond({ ...GRPC, "grpc-status": "5", "grpc-message": "50% gone" }, {
        endStream: true,
      });
    };
    expect(await failure(call())).toMatchObject({ message: "50% gone", code: Code.NotFound });
  });
});

describe("a call ends", () => {
  test("when the server resets its stream", async () => {
    serve = (stream) => stream.close(2);
    const { kind, symptom, code } = EtcdError.from(await failure(call()), { endpoint });
    expect({ kind, code }).toEqual({ kind: "interrupted", code: undefined });
    expect([undefined, "closed"]).toContain(symptom);
  });

  test("when the connection is cut, before or within a response", async () => {
    for (const begin of [false, true]) {
      serve = (stream) => {
        if (begin) {
          stream.respond(GRPC);
          stream.write(Uint8Array.of(0, 0));
        }
        setTimeout(() => proxy.cut(), 50);
      };
      const error = EtcdError.from(await failure(call()), { endpoint });
      expect(error).toMatchObject({ kind: "interrupted", code: undefined });
    }
  });

  test("at its deadline", async () => {
    const closed = Promise.withResolvers<void>();
    serve = (stream) => stream.on("close", () => closed.resolve());
    expect(await failure(call(50))).toMatchObject({ code: Code.DeadlineExceeded });
    await closed.promise;
  });

  test("with the reason of its signal, and so do calls after it", async () => {
    const closed = Promise.withResolvers<void>();
    const stop = new AbortController();
    const reason = new Error("stopped");
    serve = (stream) => {
      stream.on("close", () => closed.resolve());
      stop.abort(reason);
    };
    expect(await failure(call(undefined, stop.signal))).toBe(reason);
    await closed.promise;
    expect(await failure(call(undefined, stop.signal))).toBe(reason);
  });

  test("when its reader leaves, and then closes its stream", async () => {
    const closed = Promise.withResolvers<void>();
    serve = (stream) => {
      stream.on("close", () => closed.resolve());
      stream.respond(GRPC);
      stream.write(Buffer.concat([frame(ANSWER), frame(ANSWER)]));
    };
    const responses = await transport.stream(etcdMethods.leaseKeepAlive, { ID: 5n }, {
      header: {},
      keepOpen: true,
    });
    for await (const _response of responses) break;
    await closed.promise;
    await eventually("an idle connection", 20_000, () => manager.state === "idle");
  });
});

test("a reader that leaves while much is waiting closes its stream", async () => {
  const closed = Promise.withResolvers<void>();
  serve = (stream) => {
    stream.on("close", () => closed.resolve());
    stream.respond(GRPC);
    stream.write(Buffer.concat(Array.from({ length: 50_000 }, () => frame(ANSWER))));
  };
  const options = { header: {}, keepOpen: true };
  const responses = await transport.stream(etcdMethods.leaseKeepAlive, { ID: 5n }, options);
  await responses.next();
  await Bun.sleep(50);
  await responses.return?.();
  await closed.promise;
  await eventually("an idle connection", 20_000, () => manager.state === "idle");
  serve = (stream) => respond(stream, [frame(ANSWER)]);
  expect((await call()).TTL).toBe(60n);
});

describe("a connection", () => {
  /** A stream that stays open. */
  function open() {
    serve = (stream) => {
      stream.respond(GRPC);
      stream.write(frame(ANSWER));
    };
    const options = { header: {}, keepOpen: true };
    return transport.stream(etcdMethods.leaseKeepAlive, { ID: 5n }, options);
  }

  test("is pinged while a call is quiet, and not without calls", async () => {
    connect({ pingIntervalMs: 40, pingTimeoutMs: 20_000 });
    const responses = await open();
    await responses.next();
    await eventually("PINGs", 20_000, () => pings >= 3);
    await responses.return?.();
    await eventually("the end of the call", 20_000, () => manager.state === "idle");
    await Bun.sleep(60);
    const before = pings;
    await Bun.sleep(200);
    expect(pings).toBe(before);
  });

  test("is closed when a PING has no response in time, with its calls", async () => {
    connect({ pingIntervalMs: 50, pingTimeoutMs: 100 });
    const responses = await open();
    await responses.next();
    proxy.silence();
    expect(EtcdError.from(await failure(responses.next()), { endpoint })).toMatchObject({
      reason: "PING timed out",
      kind: "interrupted",
    });
    expect(manager.isConnected).toBe(false);
  });

  test("that was idle for long is verified before a call, and replaced if it is dead", async () => {
    connect({ pingIntervalMs: 50, pingTimeoutMs: 100 });
    serve = (stream) => respond(stream, [frame(ANSWER)]);
    await call();
    await Bun.sleep(80);
    const before = pings;
    await call();
    expect([pings, proxy.accepted]).toEqual([before + 1, 1]);
    await Bun.sleep(80);
    proxy.silence();
    const later = call();
    await eventually("a PING", 20_000, () => manager.state === "verifying");
    proxy.restore();
    expect((await later).TTL).toBe(60n);
  });

  test("is not used for new calls after GOAWAY, but its calls continue", async () => {
    const responses = await open();
    await responses.next();
    const first = await manager.ready();
    session.goaway(0);
    await eventually("GOAWAY", 20_000, () => !first.isUsable);
    serve = (stream) => respond(stream, [frame(ANSWER)]);
    expect((await call()).TTL).toBe(60n);
    expect(await manager.ready()).not.toBe(first);
    expect([first.hasCalls, proxy.accepted]).toEqual([true, 2]);
    // Both are closed at the end.
    manager.abort(new Error("closed"));
    expect((await failure(responses.next())).message).toBe("closed");
  });

  test("is pinged half as often after a server has refused so many PINGs", async () => {
    connect({ pingIntervalMs: 200, pingTimeoutMs: 20_000 });
    const first = await open();
    await first.next();
    session.goaway(11, 0, Buffer.from("too_many_pings"));
    await failure(first.next());
    await eventually("the end of the connection", 20_000, () => !manager.isConnected);
    const second = await open();
    await second.next();
    const live = await manager.ready();
    await Bun.sleep(300);
    expect([live.isDoubtful, live.isUsable]).toEqual([false, true]);
  });

  test("that fails while calls wait for it fails all of them with the reason", async () => {
    await proxy[Symbol.asyncDispose]();
    for (const error of await Promise.all([failure(call()), failure(call())])) {
      expect(EtcdError.from(error, { endpoint })).toMatchObject({ symptom: "refused" });
    }
  });
});
