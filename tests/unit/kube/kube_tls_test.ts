/** Which servers the client trusts, and what it shows them, with real TLS servers. */

import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from "bun:test";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { TLSSocket } from "node:tls";
import { systemClock } from "../../../src/base/clock.ts";
import type { KubeClient } from "../../../src/kube/kube_client.ts";
import { KubeError } from "../../../src/kube/kube_error.ts";
import { openKubeClient } from "../../../src/kube/open_kube_client.ts";
import { kubeconfigText } from "../../../src/lab/kube/kubeconfig_text.ts";
import { type CertificateFiles, TestCa } from "../../support/certificates.ts";
import { collectingLog } from "../../support/collecting_log.ts";
import { FakeKubeApi, type FakeResponse, json } from "../../support/fake_kube_api.ts";
import { nodeJson } from "../../support/kube_objects.ts";

const NEVER = new AbortController().signal;

let [first, second]: TestCa[] = [];
let [serverFiles, other]: CertificateFiles[] = [];
let directory: string;
let stack: AsyncDisposableStack;

beforeAll(() => {
  [first, second] = [new TestCa("first"), new TestCa("second")];
  [serverFiles, other] = [
    first.sign("server", ["IP:127.0.0.1"]),
    first.sign("other", ["DNS:kubernetes"]),
  ];
});
afterAll(() => [first, second].forEach((ca) => ca?.[Symbol.dispose]()));
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), "kube-tls-test-"));
  stack = new AsyncDisposableStack();
});
afterEach(async () => {
  await stack.disposeAsync();
  rmSync(directory, { recursive: true });
});

const pem = (path: string | undefined) => readFileSync(path as string, "utf8");

async function startServer(
  files = serverFiles as CertificateFiles,
  respond: FakeResponse = json(nodeJson("n1")),
): Promise<FakeKubeApi> {
  return stack.use(
    await FakeKubeApi.start(respond, {
      cert: pem(files.certFile),
      key: pem(files.keyFile),
      ca: pem(first?.caFile) + pem(second?.caFile),
      requestCert: true,
      rejectUnauthorized: false,
    }),
  );
}

function writeConfig(cluster: object, user: object = {}): void {
  writeFileSync(join(directory, "config"), kubeconfigText({ cluster, user }));
}

async function openClient(cluster: object, user: object = {}): Promise<KubeClient> {
  writeConfig(cluster, user);
  return stack.use(
    await openKubeClient({
      kubeconfigFile: join(directory, "config"),
      apiUrl: "",
      environment: {},
      version: "v1",
      clock: systemClock,
      log: collectingLog().log,
    }),
  );
}

/** `ok`, or why the server was not reached. */
async function outcome(client: KubeClient): Promise<string> {
  try {
    await client.node("n1", NEVER);
    return "ok";
  } catch (error) {
    expect(error).toBeInstanceOf(KubeError);
    expect((error as KubeError).kind).toBe("unreachable");
    return (error as KubeError).message.replace(/^.*\): /, "");
  }
}

const UNKNOWN_CA = "the server's certificate is not signed by a trusted CA; check " +
  "certificate-authority in the kubeconfig, or ca.crt of the service account " +
  "(SELF_SIGNED_CERT_IN_CHAIN)";

test("a server is trusted by one of several CAs, and by no other", async () => {
  const { url: server } = await startServer();
  const ca = (...cas: (TestCa | undefined)[]) => ({
    server,
    "certificate-authority-data": btoa(cas.map((one) => pem(one?.caFile)).join("\n")),
  });
  expect(await outcome(await openClient(ca(first)))).toBe("ok");
  expect(await outcome(await openClient(ca(second, first)))).toBe("ok");
  expect(await outcome(await openClient(ca(second)))).toBe(UNKNOWN_CA);
  // Without a CA the system's are trusted.
  expect(await outcome(await openClient({ server }))).toBe(UNKNOWN_CA);
  expect(await outcome(await openClient({ server, "insecure-skip-tls-verify": true }))).toBe("ok");
});

test("a replaced CA counts from the next call on, whatever connection is pooled", async () => {
  const api = await startServer();
  const caFile = join(directory, "ca.crt");
  writeFileSync(caFile, pem(first?.caFile));
  const client = await openClient({ server: api.url, "certificate-authority": "ca.crt" });
  expect(await outcome(client)).toBe("ok");
  expect(await outcome(client)).toBe("ok");
  expect(api.connections).toBe(1);
  writeFileSync(caFile, pem(second?.caFile));
  expect(await outcome(client)).toBe(UNKNOWN_CA);
  expect(api.open).toBeGreaterThan(0);
  writeFileSync(caFile, pem(second?.caFile) + pem(first?.caFile));
  expect(await outcome(client)).toBe("ok");
});

test("a certificate has to be for the server's name, or for tls-server-name", async () => {
  const { url: server } = await startServer(other);
  const cluster = { server, "certificate-authority": first?.caFile };
  expect(await outcome(await openClient(cluster))).toBe(
    "the server's certificate is for another name; use a name or address that it contains, or " +
      "set tls-server-name in the kubeconfig (ERR_TLS_CERT_ALTNAME_INVALID)",
  );
  const named = { ...cluster, "tls-server-name": "kubernetes" };
  expect(await outcome(await openClient(named))).toBe("ok");
  expect(await outcome(await openClient(cluster))).not.toBe("ok");
});

test("a client certificate that is replaced is shown from the next call on", async () => {
  const names: string[] = [];
  const respond: FakeResponse = (request, socket) => {
    const { subject } = (socket as TLSSocket).getPeerCertificate();
    names.push(subject?.CN as string ?? "none");
    json(nodeJson("n1"))(request, socket);
  };
  const { url: server } = await startServer(serverFiles, respond);
  const cluster = { server, "certificate-authority": first?.caFile };
  const install = (files: CertificateFiles) => {
    writeFileSync(join(directory, "crt"), pem(files.certFile));
    writeFileSync(join(directory, "key"), pem(files.keyFile));
  };
  install(first?.sign("one") as CertificateFiles);
  const user = { "client-certificate": "crt", "client-key": "key" };
  const client = await openClient(cluster, user);
  await client.node("n1", NEVER);
  await client.node("n1", NEVER);
  install(second?.sign("two") as CertificateFiles);
  await client.node("n1", NEVER);
  await (await openClient(cluster)).node("n1", NEVER);
  expect(names).toEqual(["one", "one", "two", "none"]);
});

test("a proxy leads to the server, which it cannot read", async () => {
  const api = await startServer();
  const asked: string[] = [];
  const proxy = createServer((client) => {
    client.on("error", () => {});
    client.once("data", async (data) => {
      asked.push(data.toString().split("\r\n")[0] as string);
      const far = (await import("node:net")).connect(Number(new URL(api.url).port), "127.0.0.1");
      far.on("error", () => {});
      client.write("HTTP/1.1 200 OK\r\n\r\n");
      client.pipe(far);
      far.pipe(client);
    });
  });
  await new Promise<void>((resolve) => proxy.listen(0, "127.0.0.1", resolve));
  stack.defer(() => void proxy.close());
  const { port } = proxy.address() as { port: number };
  const cluster = { server: api.url, "certificate-authority": first?.caFile };
  const proxied = { ...cluster, "proxy-url": `http://127.0.0.1:${port}` };
  expect(await outcome(await openClient(proxied))).toBe("ok");
  expect(asked).toEqual([`CONNECT ${new URL(api.url).host} HTTP/1.1`]);
});

test("verification cannot be switched off by the environment", async () => {
  const { url: server } = await startServer();
  const script = `
    import { openKubeClient } from ${JSON.stringify(`${SRC}/kube/open_kube_client.ts`)};
    import { systemClock } from ${JSON.stringify(`${SRC}/base/clock.ts`)};
    import pino from "pino";
    const client = await openKubeClient({ kubeconfigFile: "", apiUrl: ${JSON.stringify(server)},
      environment: {}, version: "v1", clock: systemClock, log: pino() });
    await client.node("n1", new AbortController().signal)
      .then(() => console.log("ok"), (error) => console.log(error.message));`;
  const child = Bun.spawn([process.execPath, "-e", script], {
    env: { ...process.env, NODE_TLS_REJECT_UNAUTHORIZED: "0" },
    stdout: "pipe",
  });
  expect(await new Response(child.stdout).text()).toContain(UNKNOWN_CA);
});

const SRC = new URL("../../../src", import.meta.url).pathname;
