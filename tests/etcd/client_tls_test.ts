import { afterAll, beforeAll, expect, test } from "bun:test";
import { copyFileSync, renameSync, rmSync } from "node:fs";
import { EtcdClient, type EtcdClientOptions } from "../../src/subnet/etcd/client.ts";
import { EtcdError } from "../../src/subnet/etcd/etcd_error.ts";
import { type CertificateFiles, TestCa } from "../support/certificates.ts";
import { collectingLog } from "../support/collecting_log.ts";
import { EtcdServer } from "../support/etcd_server.ts";

const { log } = collectingLog();
const forever = new AbortController().signal;
let ca: TestCa;
let strangerCa: TestCa;
let clientFiles: CertificateFiles;
/** Wants a client certificate. */
let mutual: EtcdServer;
/** Wants none. */
let serverOnly: EtcdServer;

beforeAll(async () => {
  ca = new TestCa();
  strangerCa = new TestCa("stranger");
  clientFiles = ca.sign("client");
  const names = ["IP:127.0.0.1", "DNS:localhost"];
  const tls = { ...ca.sign("server", names), caFile: ca.caFile };
  mutual = await EtcdServer.start({
    tls: {
      ...tls,
      clientCaFile: ca.caFile,
      clientCertFile: clientFiles.certFile,
      clientKeyFile: clientFiles.keyFile,
    },
  });
  serverOnly = await EtcdServer.start({ tls });
});

afterAll(async () => {
  await mutual[Symbol.asyncDispose]();
  await serverOnly[Symbol.asyncDispose]();
  ca[Symbol.dispose]();
  strangerCa[Symbol.dispose]();
});

/** What a client with this configuration gets: "ok", or the reason of the failure. */
async function outcome(
  url: string,
  tls: NonNullable<EtcdClientOptions["tls"]> = {},
): Promise<string> {
  const timing = { retryForMs: 0 };
  await using client = new EtcdClient({ endpoints: [url], tls, log, timing });
  const reason = (error: unknown) =>
    error instanceof EtcdError ? `${error.kind}: ${error.reason}` : String(error);
  return await client.range({ key: "/a" }, forever).then(() => "ok", reason);
}

test("a server is trusted by its address and by its name, with only a CA", async () => {
  const tls = { caFile: ca.caFile };
  expect(serverOnly.url).toStartWith("https://127.0.0.1:");
  expect(await outcome(serverOnly.url, tls)).toBe("ok");
  expect(await outcome(serverOnly.url.replace("127.0.0.1", "localhost"), tls)).toBe("ok");
  expect(await outcome(`127.0.0.1:${serverOnly.port}`, tls)).toBe("ok");
});

test("a client certificate opens a server that demands one", async () => {
  expect(await outcome(mutual.url, { caFile: ca.caFile, ...clientFiles })).toBe("ok");
});

test("a server that demands a client certificate refuses none and a stranger's", async () => {
  const refusal = /^unsent: the server refused our TLS certificate, check --etcd-certfile/;
  expect(await outcome(mutual.url, { caFile: ca.caFile })).toMatch(refusal);
  const stranger = { caFile: ca.caFile, ...strangerCa.sign("client") };
  // The datastore's TLS closes the connection without an alert.
  expect(await outcome(mutual.url, stranger)).toMatch(
    mutual.kind === "etcd" ? refusal : /connection (?:closed|reset): .* check --etcd-certfile/,
  );
});

test("a server that our CA did not sign is refused", async () => {
  const refusal = /^unsent: the server's certificate is not trusted, check --etcd-cafile/;
  expect(await outcome(serverOnly.url, { caFile: strangerCa.caFile })).toMatch(refusal);
  expect(await outcome(serverOnly.url)).toMatch(refusal);
});

test("a certificate for another name or address is refused", async () => {
  const tls = { ...ca.sign("other", ["DNS:elsewhere.example", "IP:10.9.9.9"]), caFile: ca.caFile };
  const etcdctlFlags = ["--insecure-skip-tls-verify"];
  await using misnamed = await EtcdServer.start({ tls, etcdctlFlags });
  const refusal = /^unsent: the server's certificate is for another name/;
  expect(await outcome(misnamed.url, { caFile: ca.caFile })).toMatch(refusal);
  const byName = misnamed.url.replace("127.0.0.1", "localhost");
  expect(await outcome(byName, { caFile: ca.caFile })).toMatch(refusal);
});

test("http for https, and https for http, is explained", async () => {
  const plainUrl = serverOnly.url.replace("https:", "http:");
  expect(await outcome(plainUrl)).toContain("if etcd serves TLS, write the endpoint with https://");
  await using plain = await EtcdServer.start();
  const tlsUrl = plain.url.replace("http:", "https:");
  expect(await outcome(tlsUrl)).toContain("does etcd serve plain http there?");
});

test("a missing file is named", async () => {
  const message = await outcome(serverOnly.url, { caFile: "/nonexistent/ca.crt" });
  expect(message).toContain("cannot read the TLS files for etcd: ENOENT");
  expect(message).toContain("/nonexistent/ca.crt");
});

test("replaced certificate files serve the next connection, and calls in between go on", async () => {
  const [certFile, keyFile] = [ca.file("live.crt", ""), ca.file("live.key", "")];
  const install = ({ certFile: newCert, keyFile: newKey }: CertificateFiles) => {
    // As certificate managers do: a new file takes the name.
    copyFileSync(newCert, `${certFile}.new`);
    copyFileSync(newKey, `${keyFile}.new`);
    renameSync(`${certFile}.new`, certFile);
    renameSync(`${keyFile}.new`, keyFile);
  };
  install(strangerCa.sign("client"));
  const timing = { retryForMs: 0 };
  await using client = new EtcdClient({
    endpoints: [mutual.url],
    tls: { caFile: ca.caFile, certFile, keyFile },
    log,
    timing,
  });
  const read = () => client.range({ key: "/a" }, forever);
  const refused = mutual.kind === "etcd"
    ? /the server refused our TLS certificate/
    : /connection closed|broken pipe|connection reset/;
  const failure = () => read().then(() => "no failure", (error: Error) => error.message);
  expect(await failure()).toMatch(refused);
  install(clientFiles);
  await read();
  // A watch is open while the files change; it stays, and delivers.
  const events = client.watch("/rotated/", forever)[Symbol.asyncIterator]();
  await events.next();
  const event = events.next();
  await Bun.sleep(100);
  install(ca.sign("client"));
  await client.transaction(
    { compare: [], success: [{ put: { key: "/rotated/a", value: "" } }] },
    forever,
  );
  expect(await event).toMatchObject({ value: { kind: "put" } });
  // In the middle of a rotation the old content serves on.
  rmSync(certFile);
  await read();
  // New certificates that the server does not accept: new calls fail, so they are in use.
  install(strangerCa.sign("client"));
  expect(await failure()).toMatch(refused);
});
