/** What a TLS connection to a member offers, and which servers it trusts. */

import { afterAll, beforeAll, expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import type { AddressInfo } from "node:net";
import { createServer, type Server, type TLSSocket } from "node:tls";
import { TlsFiles, type TlsMaterial } from "../../../src/base/tls_files.ts";
import { connectTls } from "../../../src/etcd/client/tls_socket.ts";
import { type CertificateFiles, TestCa } from "../../support/certificates.ts";

let ca: TestCa;
let clientFiles: CertificateFiles;
let server: Server;
let port: number;
let accepted: TLSSocket[] = [];

beforeAll(async () => {
  ca = new TestCa();
  clientFiles = ca.sign("client");
  const { certFile, keyFile } = ca.sign("server", ["IP:127.0.0.1", "DNS:localhost"]);
  const options = {
    cert: readFileSync(certFile, "utf8"),
    key: readFileSync(keyFile, "utf8"),
    ca: readFileSync(ca.caFile, "utf8"),
    requestCert: true,
    rejectUnauthorized: false,
    ALPNProtocols: ["http/1.1", "h2"],
  };
  server = createServer(options, (socket) => {
    socket.on("error", () => {});
    accepted.push(socket);
  });
  server.on("tlsClientError", () => {});
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  port = (server.address() as AddressInfo).port;
});
afterAll(() => {
  for (const socket of accepted) socket.destroy();
  server.close();
  ca[Symbol.dispose]();
});

/** What the server sees of a connection, or why there is none. */
async function connected(
  host: string,
  material: TlsMaterial,
  protocols = ["h2"],
): Promise<unknown> {
  accepted = [];
  const socket = connectTls({ host, port }, material, protocols);
  const outcome = await new Promise<unknown>((resolve) => {
    socket.once("secureConnect", () => resolve(undefined));
    socket.once("error", (error: Error & { code?: string }) => resolve(error.code));
  });
  if (outcome !== undefined) return outcome;
  while (accepted.length === 0) await Bun.sleep(5);
  const [{ servername, authorized }] = accepted as [TLSSocket & { servername?: string }];
  const { alpnProtocol } = socket;
  socket.destroy();
  return { name: servername || undefined, authorized, alpnProtocol };
}

test("a server is asked for by its name, but not by an address", async () => {
  const material = new TlsFiles({ caFile: ca.caFile }, { purpose: "etcd" }).current();
  const seen = { authorized: false, alpnProtocol: "h2" };
  expect(await connected("localhost", material)).toEqual({ ...seen, name: "localhost" });
  expect(await connected("127.0.0.1", material)).toEqual({ ...seen, name: undefined });
});

test("a server is offered the protocols, and our certificate", async () => {
  const material = new TlsFiles({ caFile: ca.caFile, ...clientFiles }, { purpose: "etcd" })
    .current();
  expect(await connected("127.0.0.1", material, ["http/1.1"])).toEqual({
    name: undefined,
    authorized: true,
    alpnProtocol: "http/1.1",
  });
});

test("a server of another authority is never trusted, whatever the environment says", async () => {
  using stranger = new TestCa("stranger");
  const material = new TlsFiles({ caFile: stranger.caFile }, { purpose: "etcd" }).current();
  const before = process.env.NODE_TLS_REJECT_UNAUTHORIZED;
  process.env.NODE_TLS_REJECT_UNAUTHORIZED = "0";
  try {
    expect(await connected("127.0.0.1", material)).toBe("SELF_SIGNED_CERT_IN_CHAIN");
  } finally {
    if (before === undefined) delete process.env.NODE_TLS_REJECT_UNAUTHORIZED;
    else process.env.NODE_TLS_REJECT_UNAUTHORIZED = before;
  }
});
