/** When a connection to a member is dialled, kept and dropped, over real sockets on loopback. */

import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { type AddressInfo, createServer, type Socket } from "node:net";
import type { IpAddress } from "../../../src/addr/ip.ts";
import { type Clock, systemClock } from "../../../src/base/clock.ts";
import { EtcdConnection } from "../../../src/etcd/client/etcd_connection.ts";
import type { Transport } from "../../../src/etcd/client/grpc_transport.ts";
import { defaultConnectionTiming } from "../../../src/etcd/client/http2_session.ts";
import { type EtcdEndpoint, parseEndpoints } from "../../../src/etcd/client/endpoint.ts";
import { EtcdError } from "../../../src/etcd/client/etcd_error.ts";
import {
  type EgressRoute,
  type HostNetwork,
  isSameRoute,
} from "../../../src/etcd/client/host_network.ts";
import { etcdMethods } from "../../../src/etcd/client/etcd_messages.ts";
import { TlsFiles, type TlsMaterial } from "../../../src/base/tls_files.ts";
import { TestCa } from "../../support/certificates.ts";
import { ScriptedEtcd } from "../../support/scripted_etcd.ts";
import { TcpProxy } from "../../support/tcp_proxy.ts";
import { eventually } from "../../support/wait.ts";

const LOOPBACK = "127.0.0.1" as IpAddress;
const [OTHER, GATEWAY] = ["192.0.2.7", "192.0.2.1"] as IpAddress[] as [IpAddress, IpAddress];
const ROUTE: EgressRoute = { link: "lo", source: LOOPBACK };
const HERE: ReadonlySet<IpAddress> = new Set([LOOPBACK]);
const LONG_MS = 600_000;
const forever = new AbortController().signal;
let nowMs = 0;
const clock: Clock = { ...systemClock, nowMs: () => nowMs };
const timing = { pingIntervalMs: LONG_MS, pingTimeoutMs: LONG_MS };

/** A host whose routes a test changes. */
class FakeHost implements HostNetwork {
  route: EgressRoute | undefined = ROUTE;
  /** The kernel cannot be asked. */
  isBroken = false;
  readonly asked: IpAddress[] = [];

  addresses(): Promise<ReadonlySet<IpAddress>> {
    return Promise.resolve(HERE);
  }

  egressRoute(address: IpAddress): Promise<EgressRoute | undefined> {
    this.asked.push(address);
    return this.isBroken ? Promise.reject(new Error("broken")) : Promise.resolve(this.route);
  }
}

let ca: TestCa;
let etcd: ScriptedEtcd;
let proxy: TcpProxy;
let host: FakeHost;
let cleanup: AsyncDisposableStack;

beforeAll(() => {
  ca = new TestCa();
});
afterAll(() => ca[Symbol.dispose]());

beforeEach(async () => {
  cleanup = new AsyncDisposableStack();
  etcd = cleanup.use(await ScriptedEtcd.start());
  proxy = cleanup.use(await TcpProxy.start(etcd.port));
  host = new FakeHost();
});
afterEach(() => cleanup.disposeAsync());

function endpointOf(url: string): EtcdEndpoint {
  return parseEndpoints([url], { defaultScheme: "http" })[0] as EtcdEndpoint;
}

function connectionTo(
  url = proxy.url,
  options: { readonly host?: HostNetwork | undefined; readonly tlsFiles?: TlsFiles } = { host },
): EtcdConnection {
  const { host: network, tlsFiles = new TlsFiles({}, { purpose: "etcd" }) } = options;
  return cleanup.use(
    new EtcdConnection(endpointOf(url), { tlsFiles, timing, clock, host: network }),
  );
}

function read(transport: Transport): Promise<unknown> {
  const message = { key: new TextEncoder().encode("/a") };
  return transport.unary(etcdMethods.range, message, { header: {} });
}

async function failure(promise: Promise<unknown>): Promise<Error> {
  const error = await promise.then(() => undefined, (error) => error);
  if (!(error instanceof Error)) throw new Error(`an error is due, not ${error}`);
  return error;
}

/** A watch that is under way; `ended` is how it fails. */
async function watching(transport: Transport): Promise<{ readonly ended: Promise<Error> }> {
  const value = { key: new TextEncoder().encode("/a") };
  const responses = await transport.stream(
    etcdMethods.watch,
    { requestUnion: { case: "createRequest", value } },
    { header: {}, keepOpen: true },
  );
  await responses.next();
  return { ended: failure(responses.next()) };
}

/** A server that accepts and stays silent. */
async function silentServer(): Promise<{ port: number; sockets: Socket[] }> {
  const sockets: Socket[] = [];
  const server = createServer((socket) => {
    socket.on("error", () => {});
    socket.resume();
    sockets.push(socket);
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  cleanup.defer(() => {
    for (const socket of sockets) socket.destroy();
    server.close();
  });
  return { port: (server.address() as AddressInfo).port, sockets };
}

describe("a connection", () => {
  test("is dialled at the first call, and used for all that follow", async () => {
    const connection = connectionTo();
    expect([proxy.accepted, connection.hasResponded]).toEqual([0, false]);
    const transports = await Promise.all([1, 2].map(() => connection.open(forever, LONG_MS)));
    await Promise.all(transports.map(read));
    expect(await connection.open(forever, LONG_MS)).toBe(transports[0] as Transport);
    await read(await connection.open(forever, LONG_MS));
    expect(proxy.accepted).toBe(1);
    expect(etcd.calls.range).toBe(3);
    // How packets leave is looked up when it is dialled.
    expect(host.asked).toEqual([LOOPBACK]);
  });

  test("is dialled again after it was cut", async () => {
    const connection = connectionTo();
    const transport = await connection.open(forever, LONG_MS);
    const { ended: watch } = await watching(transport);
    proxy.cut();
    await watch;
    await read(await connection.open(forever, LONG_MS));
    expect(proxy.accepted).toBe(2);
    expect(host.asked).toEqual([LOOPBACK, LOOPBACK]);
  });

  test("that is refused fails before anything was sent", async () => {
    await proxy[Symbol.asyncDispose]();
    expect(await failure(connectionTo().open(forever, LONG_MS))).toMatchObject({
      kind: "unsent",
      reason: "connection refused",
      message: `connection refused (${proxy.url})`,
    });
  });

  test("that is refused where no route leads is called unreachable", async () => {
    await proxy[Symbol.asyncDispose]();
    host.route = undefined;
    expect(await failure(connectionTo().open(forever, LONG_MS))).toMatchObject({
      kind: "unsent",
      reason: "no route to host 127.0.0.1",
      message: `no route to host 127.0.0.1 (${proxy.url})`,
    });
    host.isBroken = true;
    expect(await failure(connectionTo().open(forever, LONG_MS))).toMatchObject({
      reason: "connection refused",
    });
  });

  test("that is not answered is given up in time, and dialled again", async () => {
    const silent = await silentServer();
    const connection = connectionTo(`https://127.0.0.1:${silent.port}`);
    const url = `https://127.0.0.1:${silent.port}`;
    for (const attempts of [1, 2]) {
      const error = await failure(connection.open(forever, 100));
      expect(error).toBeInstanceOf(EtcdError);
      expect(error).toMatchObject({
        kind: "unsent",
        reason: "no connection in time",
        message: `no connection in time (${url})`,
        cause: { name: "TimeoutError" },
      });
      expect(silent.sockets).toHaveLength(attempts);
      await eventually("the end of the attempt", 20_000, () => silent.sockets.at(-1)?.destroyed);
    }
  });

  test("ends with the signal's reason while it is dialled, and leaves that to others", async () => {
    const silent = await silentServer();
    const connection = connectionTo(`https://127.0.0.1:${silent.port}`);
    const stop = new AbortController();
    const opened = failure(connection.open(stop.signal, LONG_MS));
    await eventually("the attempt", 20_000, () => silent.sockets.length === 1);
    const reason = new Error("the daemon ends");
    stop.abort(reason);
    expect(await opened).toBe(reason);
    expect(await failure(connection.open(stop.signal, LONG_MS))).toBe(reason);
    expect(silent.sockets[0]?.destroyed).toBe(false);
  });

  test("is closed with its streams", async () => {
    const connection = connectionTo();
    const { ended: watch } = await watching(await connection.open(forever, LONG_MS));
    connection[Symbol.dispose]();
    expect(String(await watch)).toContain("connection aborted");
  });

  test("fails with the reason where the TLS files cannot be read", async () => {
    const tlsFiles = new TlsFiles({ caFile: "/nonexistent/ca" }, { purpose: "etcd" });
    const connection = connectionTo("https://127.0.0.1:1", { tlsFiles });
    expect(await failure(connection.open(forever, LONG_MS))).toMatchObject({
      kind: "unsent",
      message: expect.stringContaining("cannot read the TLS files for etcd"),
    });
  });
});

describe("with TLS", () => {
  let secure: ScriptedEtcd;
  let material: TlsMaterial;
  let connection: EtcdConnection;

  beforeEach(async () => {
    const { certFile, keyFile } = ca.sign("server", ["IP:127.0.0.1"]);
    const pem = { cert: readFileSync(certFile, "utf8"), key: readFileSync(keyFile, "utf8") };
    secure = cleanup.use(await ScriptedEtcd.start(pem));
    proxy = cleanup.use(await TcpProxy.start(secure.port));
    material = { ca: readFileSync(ca.caFile, "utf8") };
    const tlsFiles = { current: () => material } as unknown as TlsFiles;
    connection = connectionTo(proxy.url.replace("http:", "https:"), { host, tlsFiles });
  });

  test("streams continue when certificates change, and new calls use the new ones", async () => {
    const before = await connection.open(forever, LONG_MS);
    const { ended: watch } = await watching(before);
    material = { ...material };
    const after = await connection.open(forever, LONG_MS);
    await read(after);
    expect(after).not.toBe(before);
    expect(proxy.accepted).toBe(2);
    let isOver = false;
    void watch.then(() => isOver = true);
    material = { ...material };
    await read(await connection.open(forever, LONG_MS));
    expect([proxy.accepted, isOver]).toEqual([3, false]);
    // What this host cannot use any more is dropped, whenever it was dialled.
    expect(await connection.networkChanged(new Set([OTHER]))).toBe(true);
    expect((await watch).message).toContain("no longer has the connection's address 127.0.0.1");
  });

  test("all of them are closed at the end", async () => {
    const { ended: watch } = await watching(await connection.open(forever, LONG_MS));
    material = { ...material };
    await connection.open(forever, LONG_MS);
    connection[Symbol.dispose]();
    expect(String(await watch)).toContain("connection aborted");
  });

  test("a server that is not trusted is not dialled in clear", async () => {
    using stranger = new TestCa("stranger");
    material = { ca: readFileSync(stranger.caFile, "utf8") };
    expect(await failure(connection.open(forever, LONG_MS))).toMatchObject({
      kind: "unsent",
      reason: expect.stringContaining("certificate is not trusted"),
    });
    // Something answered, whatever the routes say now.
    host.route = undefined;
    expect(await failure(connection.open(forever, LONG_MS))).toMatchObject({
      reason: expect.stringContaining("certificate is not trusted"),
    });
  });
});

describe("when the network changes, a connection", () => {
  /** Opens a stream; how it ends, once it does. */
  async function used(connection: EtcdConnection): Promise<{ ended?: Error }> {
    const { ended: failed } = await watching(await connection.open(forever, LONG_MS));
    const use: { ended?: Error } = {};
    void failed.then((error) => use.ended = error);
    return use;
  }

  async function expectEnd(use: { ended?: Error }, reason: string): Promise<void> {
    const ended = await eventually("the end of the stream", 20_000, () => use.ended);
    expect(ended.message).toContain(`${reason} (${proxy.url})`);
  }

  test("is worth an attempt if there is another route than before, dialled or not", async () => {
    const connection = connectionTo();
    expect(await connection.networkChanged(HERE)).toBe(true);
    expect(await connection.networkChanged(HERE)).toBe(false);
    host.route = undefined;
    expect(await connection.networkChanged(HERE)).toBe(true);
    expect(await connection.networkChanged(HERE)).toBe(false);
    expect(await connectionTo(proxy.url, {}).networkChanged(HERE)).toBe(false);
  });

  test("stays where nothing about it has changed", async () => {
    const connection = connectionTo();
    const use = await used(connection);
    expect(await connection.networkChanged(new Set([OTHER, LOOPBACK]))).toBe(false);
    host.route = { ...ROUTE };
    expect(await connection.networkChanged(HERE)).toBe(false);
    await read(await connection.open(forever, LONG_MS));
    expect([use.ended, proxy.accepted]).toEqual([undefined, 1]);
  });

  test("is dropped when this host has lost its address", async () => {
    for (const options of [{ host }, {}]) {
      const connection = connectionTo(proxy.url, options);
      const use = await used(connection);
      expect(await connection.networkChanged(new Set([OTHER]))).toBe(true);
      await expectEnd(use, `this host no longer has the connection's address ${LOOPBACK}`);
      // The connection no longer exists.
      expect(await connection.networkChanged(new Set([OTHER]))).toBe(false);
      await read(await connection.open(forever, LONG_MS));
    }
    expect(proxy.accepted).toBe(4);
  });

  test("is dropped when packets would leave with another address", async () => {
    const connection = connectionTo();
    const use = await used(connection);
    host.route = { ...ROUTE, source: OTHER };
    expect(await connection.networkChanged(HERE)).toBe(true);
    await expectEnd(
      use,
      `the source address of packets to ${LOOPBACK} changed from ${LOOPBACK} to ${OTHER}`,
    );
  });

  test("is dropped when there is no route any more", async () => {
    const connection = connectionTo();
    const use = await used(connection);
    host.route = undefined;
    expect(await connection.networkChanged(HERE)).toBe(true);
    await expectEnd(use, `there is no longer a route to ${LOOPBACK}`);
  });

  test("stays when packets leave by another way with the same address", async () => {
    const connection = connectionTo();
    const use = await used(connection);
    host.route = { ...ROUTE, link: "eth1", gateway: GATEWAY };
    expect(await connection.networkChanged(HERE)).toBe(true);
    expect(await connection.networkChanged(HERE)).toBe(false);
    await read(await connection.open(forever, LONG_MS));
    expect([use.ended, proxy.accepted]).toEqual([undefined, 1]);
  });

  test("stays when it is not known how packets left before", async () => {
    host.isBroken = true;
    const connection = connectionTo();
    const use = await used(connection);
    host.isBroken = false;
    host.route = { ...ROUTE, source: OTHER };
    expect(await connection.networkChanged(HERE)).toBe(true);
    await read(await connection.open(forever, LONG_MS));
    expect([use.ended, proxy.accepted]).toEqual([undefined, 1]);
  });

  test("that is being dialled is given up only if packets take another way now", async () => {
    const silent = await silentServer();
    const connection = connectionTo(`https://127.0.0.1:${silent.port}`);
    const opened = failure(connection.open(forever, LONG_MS));
    await eventually("the attempt", 20_000, () => silent.sockets.length === 1);
    // Another attempt waits for the same one.
    const other = failure(connection.open(forever, LONG_MS));
    expect(host.asked).toHaveLength(1);
    expect(await connection.networkChanged(new Set([OTHER]))).toBe(false);
    host.route = { ...ROUTE, link: "eth1" };
    expect(await connection.networkChanged(HERE)).toBe(true);
    for (const error of [await opened, await other]) {
      expect(error.message).toStartWith("the network changed while connecting");
      expect(error).toMatchObject({ kind: "unsent" });
    }
  });

  test("by a name is looked at by the address that it has", async () => {
    const connection = connectionTo(`http://localhost:${proxy.port}`);
    const use = await used(connection);
    expect(host.asked).toEqual([]);
    expect(await connection.networkChanged(HERE)).toBe(false);
    expect([...new Set(host.asked)]).toEqual([LOOPBACK]);
    host.route = { ...ROUTE, source: OTHER };
    expect(await connection.networkChanged(HERE)).toBe(true);
    const ended = await eventually("the end of the stream", 20_000, () => use.ended);
    expect(ended.message).toContain(`the source address of packets to ${LOOPBACK} changed`);
  });
});

describe("what else than an etcd answers", () => {
  test("is asked at most once a minute", async () => {
    let questions = 0;
    const server = createServer((socket) => {
      questions++;
      socket.on("error", () => {});
      socket.end("SSH-2.0-x\r\n");
    });
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    cleanup.defer(() => void server.close());
    const { port } = server.address() as AddressInfo;
    const tlsFiles = new TlsFiles({ caFile: "/nonexistent/ca" }, { purpose: "etcd" });
    const connection = connectionTo(`http://127.0.0.1:${port}`, { tlsFiles });
    const text = expect.stringContaining("an SSH server answers there");
    for (const passedMs of [0, 1_000, 59_000]) {
      nowMs += passedMs;
      expect(await connection.probe(forever)).toEqual(text);
    }
    expect(questions).toBe(1);
    nowMs++;
    expect(await connection.probe(forever)).toEqual(text);
    expect(questions).toBe(2);
    expect(await failure(connection.probe(AbortSignal.abort(new Error("ended")))))
      .toMatchObject({ message: "ended" });
  });

  test("is asked in TLS of an https endpoint", async () => {
    const { certFile, keyFile } = ca.sign("server", ["IP:127.0.0.1"]);
    const web = Bun.serve({
      hostname: "127.0.0.1",
      port: 0,
      tls: { cert: readFileSync(certFile, "utf8"), key: readFileSync(keyFile, "utf8") },
      fetch: () => new Response("no", { status: 404 }),
    });
    cleanup.defer(() => web.stop(true));
    const tlsFiles = new TlsFiles({ caFile: ca.caFile }, { purpose: "etcd" });
    const connection = connectionTo(`https://127.0.0.1:${web.port}`, { tlsFiles });
    expect(await connection.probe(forever)).toContain("not etcd (HTTP 404)");
  });
});

test("a connection is pinged as often as etcd bears, unless another time is asked for", () => {
  expect(defaultConnectionTiming).toEqual({ pingIntervalMs: 6_000, pingTimeoutMs: 3_500 });
});

test("isSameRoute() is the same device, gateway and address, or no route", () => {
  const route: EgressRoute = { link: "eth0", gateway: GATEWAY, source: OTHER };
  expect(isSameRoute(route, { ...route })).toBe(true);
  expect(isSameRoute(undefined, undefined)).toBe(true);
  for (
    const other of [
      undefined,
      { ...route, link: "eth1" },
      { ...route, gateway: LOOPBACK },
      { ...route, source: LOOPBACK },
    ]
  ) {
    expect(isSameRoute(route, other)).toBe(false);
    expect(isSameRoute(other, route)).toBe(false);
  }
});
