/** One HTTP/2 session: which addresses it has, and that nothing it reads ends the program. */

import { afterEach, beforeEach, expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import type { ClientHttp2Session } from "node:http2";
import { createServer as createHttpsServer } from "node:https";
import type { AddressInfo } from "node:net";
import type { IpAddress } from "../../../src/addr/ip.ts";
import { type EtcdEndpoint, parseEndpoints } from "../../../src/etcd/client/endpoint.ts";
import { etcdMethods } from "../../../src/etcd/client/etcd_messages.ts";
import { systemClock } from "../../../src/base/clock.ts";
import { Code } from "../../../src/etcd/client/grpc_error.ts";
import { GrpcTransport, type Transport } from "../../../src/etcd/client/grpc_transport.ts";
import { endsOf, SessionManager } from "../../../src/etcd/client/http2_session.ts";
import { TlsFiles, type TlsMaterial } from "../../../src/base/tls_files.ts";
import { TestCa } from "../../support/certificates.ts";
import { ScriptedEtcd } from "../../support/scripted_etcd.ts";
import { TcpProxy } from "../../support/tcp_proxy.ts";
import { eventually } from "../../support/wait.ts";

const LOOPBACK = "127.0.0.1" as IpAddress;
const ENDS = { local: LOOPBACK, remote: LOOPBACK };
const LONG_MS = 600_000;
const timing = { pingIntervalMs: LONG_MS, pingTimeoutMs: LONG_MS };

let etcd: ScriptedEtcd;
let proxy: TcpProxy;

beforeEach(async () => {
  etcd = await ScriptedEtcd.start();
  proxy = await TcpProxy.start(etcd.port);
});
afterEach(async () => {
  await proxy[Symbol.asyncDispose]();
  await etcd[Symbol.asyncDispose]();
});

function endpointOf(url: string): EtcdEndpoint {
  return parseEndpoints([url], { defaultScheme: "http" })[0] as EtcdEndpoint;
}

function read(transport: Transport): Promise<unknown> {
  const message = { key: new TextEncoder().encode("/a") };
  return transport.unary(etcdMethods.range, message, { header: {} });
}

interface Opened {
  readonly manager: SessionManager;
  readonly transport: Transport;
}

function sessionsOf(
  url: string,
  { material, timing: given = timing }: {
    readonly material?: TlsMaterial;
    readonly timing?: typeof timing;
  } = {},
): Opened {
  const options = { material, timing: given, clock: systemClock };
  const manager = new SessionManager(endpointOf(url), options);
  return { manager, transport: new GrpcTransport(manager) };
}

/** The session of a watch that is under way. */
async function watching({ manager, transport }: Opened): Promise<ClientHttp2Session> {
  const value = { key: new TextEncoder().encode("/a") };
  const responses = await transport.stream(
    etcdMethods.watch,
    { requestUnion: { case: "createRequest", value } },
    { header: {}, keepOpen: true },
  );
  await responses.next();
  responses.next().catch(() => {});
  return (await manager.ready()).session;
}

test("a session has the ends of its connection as long as that stands", async () => {
  const opened = sessionsOf(proxy.url);
  const { manager, transport } = opened;
  expect([manager.state, manager.isConnected, manager.ends]).toEqual(["closed", false, undefined]);
  await manager.ready();
  expect([manager.state, manager.isConnected, manager.ends]).toEqual(["idle", true, ENDS]);
  await read(transport);
  await eventually("the end of the call", 20_000, () => manager.state === "idle");
  expect([manager.isConnected, manager.ends]).toEqual([true, ENDS]);
  await watching(opened);
  expect([manager.state, manager.isConnected, manager.ends]).toEqual(["open", true, ENDS]);
  proxy.cut();
  await eventually("the end of the session", 20_000, () => !manager.isConnected);
  expect(manager.ends).toBeUndefined();
  await read(transport);
  expect(manager.ends).toEqual(ENDS);
  manager.abort();
  expect([manager.isConnected, manager.ends]).toEqual([false, undefined]);
});

test("a session stands while it is verified", async () => {
  const rare = { pingIntervalMs: 1, pingTimeoutMs: LONG_MS };
  const { manager, transport } = sessionsOf(proxy.url, { timing: rare });
  await read(transport);
  proxy.silence();
  await Bun.sleep(20);
  const connected = manager.ready();
  await eventually("a PING", 20_000, () => manager.state === "verifying");
  expect([manager.isConnected, manager.ends]).toEqual([true, ENDS]);
  proxy.restore();
  proxy.cut();
  await connected;
  manager.abort();
});

test("a session that fails more than once does not end the program", async () => {
  const opened = sessionsOf(proxy.url);
  const session = await watching(opened);
  const listeners = session.listenerCount("error");
  expect(await watching(opened)).toBe(session);
  expect(session.listenerCount("error")).toBe(listeners);
  for (const text of ["first", "second", "third"]) session.emit("error", new Error(text));
  opened.manager.abort();
  expect(opened.manager.state).toBe("closed");
});

test("a TLS server without HTTP/2 fails each call, and does not end the program", async () => {
  using ca = new TestCa();
  const { certFile, keyFile } = ca.sign("server", ["IP:127.0.0.1"]);
  const pem = { cert: readFileSync(certFile, "utf8"), key: readFileSync(keyFile, "utf8") };
  const web = createHttpsServer(pem, (_request, response) => {
    response.writeHead(404);
    response.end("<html>404</html>");
  });
  await new Promise<void>((resolve) => web.listen(0, "127.0.0.1", resolve));
  const { port } = web.address() as AddressInfo;
  const material = new TlsFiles({ caFile: ca.caFile }, { purpose: "etcd" }).current();
  const url = `https://127.0.0.1:${port}`;
  const { manager, transport } = sessionsOf(url, { material });
  for (let attempt = 0; attempt < 3; attempt++) {
    expect(await read(transport).then(() => "an answer", () => "none")).toBe("none");
  }
  // What the session took for frames came as an exception from nowhere.
  await Bun.sleep(50);
  expect(manager.ends).toBeUndefined();
  web.close();
});

test("a connection that cannot be set up is attempted again by each call", async () => {
  const key = "-----BEGIN NOTHING-----";
  const { manager, transport } = sessionsOf("https://127.0.0.1:1", {
    material: { cert: key, key },
  });
  for (let attempt = 0; attempt < 2; attempt++) {
    const failure = await read(transport).then(() => undefined, (error) => error);
    expect(failure?.message).toStartWith("the connection cannot be set up: ");
    expect(manager.state).toBe("closed");
  }
});

test("the deadline of a call includes the connection", async () => {
  using silent = Bun.listen({ hostname: "127.0.0.1", port: 0, socket: { data() {} } });
  const { manager, transport } = sessionsOf(`https://127.0.0.1:${silent.port}`, { material: {} });
  const options = { header: {}, timeoutMs: 50 };
  const call = transport.unary(etcdMethods.leaseKeepAlive, { ID: 5n }, options);
  const failure = await call.then(() => undefined, (error) => error);
  expect(failure).toMatchObject({ code: Code.DeadlineExceeded });
  expect(manager.state).toBe("connecting");
  // A signal gives its own reason.
  const stop = new AbortController();
  const stopped = transport.unary(etcdMethods.leaseKeepAlive, { ID: 5n }, {
    ...options,
    timeoutMs: LONG_MS,
    signal: stop.signal,
  });
  stop.abort(new Error("stopped"));
  expect(await stopped.then(() => undefined, (error) => error.message)).toBe("stopped");
  manager.abort();
});

test("endsOf() are addresses without the device, or none of a closed socket", () => {
  expect(endsOf({ localAddress: "fe80::1%eth0", remoteAddress: "fe80::2%wlan0" })).toEqual({
    local: "fe80::1" as IpAddress,
    remote: "fe80::2" as IpAddress,
  });
  expect(endsOf({ localAddress: "127.0.0.1", remoteAddress: undefined })).toBeUndefined();
  expect(endsOf({ localAddress: undefined, remoteAddress: "127.0.0.1" })).toBeUndefined();
});
