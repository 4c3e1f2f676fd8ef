import { afterAll, beforeAll, expect, test } from "bun:test";
import { copyFileSync, readFileSync, renameSync, rmSync } from "node:fs";
import { dirname, resolve } from "node:path";
import { systemClock } from "../../src/base/clock.ts";
import { EtcdClient, type EtcdClientOptions } from "../../src/etcd/client/etcd_client.ts";
import { EtcdError } from "../../src/etcd/client/etcd_error.ts";
import { type CertificateFiles, TestCa } from "../support/certificates.ts";
import { collectingLog } from "../support/collecting_log.ts";
import { EtcdServer } from "../support/etcd_server.ts";

const ROOT = new URL("../../", import.meta.url).pathname;
const FLANNELD = resolve(ROOT, process.env["FLANNELD_BINARY"] ?? "dist/flanneld");

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
  await using client = new EtcdClient({ clock: systemClock, endpoints: [url], tls, log, timing });
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
  expect(await outcome(tlsUrl)).toMatch(
    plain.kind === "etcd"
      ? /etcd 3\.[\d.]+ answers there without TLS: write http:/
      : /does etcd serve plain http there\?/,
  );
});

test("a missing file is named", async () => {
  const message = await outcome(serverOnly.url, { caFile: "/nonexistent/ca.crt" });
  expect(message).toContain("cannot read the TLS files for etcd: ENOENT");
  expect(message).toContain("/nonexistent/ca.crt");
});

test("a CA file without a certificate is an error and does not mean the system's CAs", async () => {
  for (const text of ["", "\n", "no PEM", "-----BEGIN CERTIFICATE-----\nAAAA\n"]) {
    const caFile = ca.file("none.crt", text);
    expect(await outcome(serverOnly.url, { caFile })).toContain(
      `cannot read the TLS files for etcd: ${caFile} has no certificate in PEM form`,
    );
  }
  const damaged = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
  expect(await outcome(serverOnly.url, { caFile: ca.file("damaged.crt", damaged) })).toContain(
    "damaged.crt has a damaged certificate",
  );
  // One that cannot be read does not make a list unusable.
  const list = ca.file("list.crt", damaged + readFileSync(ca.caFile, "utf8"));
  expect(await outcome(serverOnly.url, { caFile: list })).toBe("ok");
});

test("a file without a key, or with another certificate's, is named", async () => {
  const other = ca.sign("client");
  const files = { caFile: ca.caFile, certFile: clientFiles.certFile };
  expect(await outcome(mutual.url, { ...files, keyFile: other.keyFile })).toContain(
    `${other.keyFile} is not the key of the certificate in ${clientFiles.certFile}`,
  );
  expect(await outcome(mutual.url, { ...files, keyFile: clientFiles.certFile })).toContain(
    `${clientFiles.certFile} has no unencrypted private key in PEM form`,
  );
});

test(
  "no environment variable makes the executable trust a server that --etcd-cafile does not",
  async () => {
    const trusted = ca.caFile;
    const variables: Record<string, string>[] = [
      {},
      { NODE_TLS_REJECT_UNAUTHORIZED: "0" },
      { NODE_EXTRA_CA_CERTS: trusted },
      { SSL_CERT_FILE: trusted, SSL_CERT_DIR: dirname(trusted) },
      { NODE_USE_SYSTEM_CA: "1", SSL_CERT_FILE: trusted },
      { NODE_OPTIONS: "--use-system-ca --use-openssl-ca", SSL_CERT_FILE: trusted },
      { BUN_OPTIONS: "--use-system-ca", SSL_CERT_FILE: trusted },
    ];
    const tried = variables.map(async (env) => [env, await exported(strangerCa.caFile, env)]);
    for (const [env, text] of await Promise.all(tried)) {
      expect([env, text]).toEqual([env, expect.stringContaining("certificate is not trusted")]);
    }
    expect(await exported(ca.caFile, {})).not.toContain("not trusted");
    // Without --etcd-cafile the system's trust may be extended, but not switched off.
    const off = await exported(undefined, { NODE_TLS_REJECT_UNAUTHORIZED: "0" });
    expect(off).toContain("certificate is not trusted");
  },
  90_000,
);

/** What the executable says when it exports the keys of a server. */
async function exported(
  caFile: string | undefined,
  env: Readonly<Record<string, string>>,
): Promise<string> {
  const endpoint = `--etcd-endpoints=${serverOnly.url}`;
  const trust = caFile === undefined ? [] : [`--etcd-cafile=${caFile}`];
  const child = Bun.spawn([FLANNELD, "datastore", "export", endpoint, ...trust], {
    env: { PATH: process.env["PATH"] ?? "", ...env },
    stdout: "pipe",
    stderr: "pipe",
  });
  const [out, errors] = await Promise.all([
    new Response(child.stdout).text(),
    new Response(child.stderr).text(),
  ]);
  return out + errors;
}

test("the next connection uses replaced certificate files; calls continue meanwhile", async () => {
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
    clock: systemClock,
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
  // A watch that is open while the files change stays open and delivers.
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
