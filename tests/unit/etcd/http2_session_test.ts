/** One HTTP/2 session: which addresses it has, and that nothing it reads ends the program. */

import { createClient, type Transport } from "@connectrpc/connect";
import { afterEach, beforeEach, expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import type { ClientHttp2Session } from "node:http2";
import { createServer as createHttpsServer } from "node:https";
import type { AddressInfo } from "node:net";
import type { IpAddress } from "../../../src/addr/ip.ts";
import { type EtcdEndpoint, parseEndpoints } from "../../../src/etcd/client/endpoint.ts";
import { KV } from "../../../src/etcd/api/rpc_pb.ts";
import {
  endsOf,
  newHttp2Session,
  type SessionManager,
} from "../../../src/etcd/client/http2_session.ts";
import { TlsFiles } from "../../../src/base/tls_files.ts";
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
  return createClient(KV, transport).range({ key: new TextEncoder().encode("/a") });
}

/** The session of a request that is under way. */
async function requested(manager: SessionManager): Promise<ClientHttp2Session> {
  const stream = await manager.request("POST", "/etcdserverpb.KV/Range", {}, {});
  stream.on("error", () => {});
  return stream.session as ClientHttp2Session;
}

test("a session has the ends of its connection as long as that stands", async () => {
  const { manager, transport } = newHttp2Session(endpointOf(proxy.url), undefined, timing);
  expect([manager.isConnected, manager.ends]).toEqual([false, undefined]);
  await manager.connect();
  expect([manager.isConnected, manager.ends]).toEqual([true, undefined]);
  await read(transport);
  await eventually("the end of the call", 20_000, () => manager.state() === "idle");
  expect([manager.isConnected, manager.ends]).toEqual([true, ENDS]);
  await requested(manager);
  expect([manager.state(), manager.isConnected, manager.ends]).toEqual(["open", true, ENDS]);
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
  const { manager, transport } = newHttp2Session(endpointOf(proxy.url), undefined, rare);
  await read(transport);
  proxy.silence();
  await Bun.sleep(20);
  const connected = manager.connect();
  await eventually("a PING", 20_000, () => manager.state() === "verifying");
  expect([manager.isConnected, manager.ends]).toEqual([true, ENDS]);
  proxy.restore();
  proxy.cut();
  await connected;
  manager.abort();
});

test("a session that fails more than once does not end the program", async () => {
  const { manager } = newHttp2Session(endpointOf(proxy.url), undefined, timing);
  const session = await requested(manager);
  const listeners = session.listenerCount("error");
  expect(await requested(manager)).toBe(session);
  expect(session.listenerCount("error")).toBe(listeners);
  for (const text of ["first", "second", "third"]) session.emit("error", new Error(text));
  expect(manager.state()).toBe("error");
  manager.abort();
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
  const { manager, transport } = newHttp2Session(endpointOf(url), material, timing);
  for (let attempt = 0; attempt < 3; attempt++) {
    expect(await read(transport).then(() => "an answer", () => "none")).toBe("none");
  }
  // What the session took for frames came as an exception from nowhere.
  await Bun.sleep(50);
  expect(manager.ends).toBeUndefined();
  web.close();
});

test("endsOf() are addresses without the device, or none of a closed socket", () => {
  expect(endsOf({ localAddress: "fe80::1%eth0", remoteAddress: "fe80::2%wlan0" })).toEqual({
    local: "fe80::1" as IpAddress,
    remote: "fe80::2" as IpAddress,
  });
  expect(endsOf({ localAddress: "127.0.0.1", remoteAddress: undefined })).toBeUndefined();
  expect(endsOf({ localAddress: undefined, remoteAddress: "127.0.0.1" })).toBeUndefined();
});
