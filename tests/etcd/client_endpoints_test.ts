/** The client's error for an endpoint where something other than an etcd v3 responds. */

import { afterAll, beforeAll, expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { createServer as createHttpServer, type ServerResponse } from "node:http";
import { createSecureServer, createServer as createHttp2Server } from "node:http2";
import { createServer as createHttpsServer } from "node:https";
import { type AddressInfo, createServer, type Server } from "node:net";
import { resolve } from "node:path";
import { systemClock } from "../../src/base/clock.ts";
import { EtcdClient } from "../../src/etcd/client/etcd_client.ts";
import { type CertificateFiles, TestCa } from "../support/certificates.ts";
import { collectingLog } from "../support/collecting_log.ts";
import { EtcdServer, freePorts } from "../support/etcd_server.ts";
import { eventually } from "../support/wait.ts";

const ROOT = new URL("../../", import.meta.url).pathname;
const FLANNELD = resolve(ROOT, process.env["FLANNELD_BINARY"] ?? "dist/flanneld");
const { log } = collectingLog();
let ca: TestCa;
let files: CertificateFiles;

beforeAll(() => {
  ca = new TestCa();
  files = ca.sign("server", ["IP:127.0.0.1"]);
});
afterAll(() => ca[Symbol.dispose]());

/** Why a first call to this URL fails. */
async function reason(url: string): Promise<string> {
  const tls = { caFile: ca.caFile };
  const timing = { retryForMs: 0, attemptMs: 3_000 };
  await using client = new EtcdClient({ clock: systemClock, endpoints: [url], tls, log, timing });
  const failed = client.range({ key: "/a" }, new AbortController().signal);
  const error = await failed.then(() => new Error("no failure"), (error: Error) => error);
  expect(error.message).not.toContain("\n");
  return error.message.replace("cannot read /a in etcd: ", "");
}

/** Serves until disposed, on loopback. */
async function serving(
  server: Pick<Server, "listen" | "address" | "close">,
): Promise<{ port: number } & Disposable> {
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as AddressInfo;
  return { port, [Symbol.dispose]: () => void server.close() };
}

function pem(): { cert: string; key: string } {
  return {
    cert: readFileSync(files.certFile, "utf8"),
    key: readFileSync(files.keyFile, "utf8"),
  };
}

function notFound(_request: unknown, response: ServerResponse): void {
  response.writeHead(404, { server: "nginx/1.22.1" });
  response.end("<html>404</html>");
}

const WEB_SERVER = "a web server or proxy answers there, not etcd";

test("a web server is named, over http and for an https endpoint", async () => {
  using web = await serving(createHttpServer(notFound));
  const text = `${WEB_SERVER} ("nginx/1.22.1", HTTP 404): check the address and the port, 2379`;
  expect(await reason(`http://127.0.0.1:${web.port}`)).toStartWith(text);
  expect(await reason(`https://127.0.0.1:${web.port}`)).toStartWith(text);
});

test("a TLS web server without HTTP/2 is named, and does not end the program", async () => {
  using web = await serving(createHttpsServer(pem(), notFound));
  for (let attempt = 0; attempt < 3; attempt++) {
    expect(await reason(`https://127.0.0.1:${web.port}`)).toStartWith(WEB_SERVER);
  }
  // The invalid frames caused an uncaught exception.
  await Bun.sleep(50);
});

test("a web server with HTTP/2 is named, with TLS and without", async () => {
  using secure = await serving(createSecureServer(pem(), (_request, response) => {
    response.writeHead(404);
    response.end();
  }));
  expect(await reason(`https://127.0.0.1:${secure.port}`)).toContain(WEB_SERVER);
  using plain = await serving(createHttp2Server((_request, response) => {
    response.writeHead(200, { "content-type": "text/html" });
    response.end("<html>");
  }));
  expect(await reason(`http://127.0.0.1:${plain.port}`)).toContain(WEB_SERVER);
});

test("the error names the version of a v2 etcd, and an HTTP/1.1 proxy in front of it", async () => {
  let version = "2.3.8";
  using etcd = await serving(createHttpServer((request, response) => {
    if (request.url !== "/version") return notFound(request, response);
    response.end(JSON.stringify({ etcdserver: version, etcdcluster: "2.3.0" }));
  }));
  const url = `http://127.0.0.1:${etcd.port}`;
  expect(await reason(url)).toStartWith("etcd 2.3.8 answers there, which has no v3 API");
  version = "3.5.9";
  expect(await reason(url)).toStartWith("etcd 3.5.9 answers there in HTTP/1.1 only: a proxy");
});

test("a server that wants TLS is named", async () => {
  for (
    const body of ["Client sent an HTTP request to an HTTPS server.\n", "\x15\x03\x03\x00\x02"]
  ) {
    const answer = body.startsWith("\x15") ? body : `HTTP/1.0 400 Bad Request\r\n\r\n${body}`;
    using server = await serving(createServer((socket) => {
      socket.on("error", () => {});
      socket.end(answer, "latin1");
    }));
    expect(await reason(`http://127.0.0.1:${server.port}`)).toStartWith(
      "a TLS server answers there: write https://",
    );
  }
});

test("a plain etcd at an https endpoint is named with its version", async () => {
  await using etcd = await EtcdServer.start({ kind: "etcd" });
  expect(await reason(etcd.url.replace("http:", "https:"))).toMatch(
    /^etcd 3\.[\d.]+ answers there without TLS: write http:\/\//,
  );
});

test("an SSH server and other programs are named by what they say, cut and escaped", async () => {
  const says = async (text: string) => {
    using server = await serving(createServer((socket) => {
      socket.on("error", () => {});
      socket.end(text);
    }));
    const answers = [];
    for (const scheme of ["http", "https"]) {
      answers.push(await reason(`${scheme}://127.0.0.1:${server.port}`));
    }
    expect(answers[1]?.replace("https:", "http:")).toBe(answers[0] as string);
    return answers[0];
  };
  expect(await says("SSH-2.0-OpenSSH_9.2p1\r\n")).toStartWith(
    'an SSH server answers there, not etcd, with "SSH-2.0-OpenSSH_9.2p1": check the port, 2379',
  );
  const long = await says(`220 \x1b[31m${"x".repeat(5_000)}\r\n`);
  expect(long).toStartWith('another program answers there, not etcd, with "220 \\u001b[31mxxx');
  expect(long?.length).toBeLessThan(250);
});

test("a server that accepts and stays silent costs only the call's time limit", async () => {
  using silent = await serving(createServer((socket) => void socket.on("error", () => {})));
  expect(await reason(`http://127.0.0.1:${silent.port}`)).toStartWith("no response in time");
});

test("an endpoint without a port is named when it fails", async () => {
  const hint = (port: number, url: string) =>
    `the endpoint has no port, so port ${port} was tried: etcd listens on 2379, write ${url}:2379`;
  expect(await reason("http://127.0.0.1")).toContain(hint(80, "http://127.0.0.1"));
  expect(await reason("https://[::1]/")).toContain(hint(443, "https://[::1]"));
  const [port] = await freePorts(2);
  expect(await reason(`http://127.0.0.1:${port}`)).toStartWith("connection refused: does etcd");
  expect(await reason("http://127.0.0.1:80")).toStartWith("connection refused: does etcd");
});

test("a protocol violation after a stream has opened does not end the daemon", async () => {
  const frame = (type: number, id: number, body: readonly number[]) =>
    Buffer.from([0, 0, body.length, type, 4, 0, 0, 0, id, ...body]);
  let connections = 0;
  using server = await serving(createServer((socket) => {
    connections++;
    socket.on("error", () => {});
    socket.write(Buffer.from([0, 0, 0, 4, 0, 0, 0, 0, 0])); // SETTINGS
    // HEADERS of stream 2, and a PING of three bytes.
    socket.once(
      "data",
      () => socket.write(Buffer.concat([frame(1, 2, [0x88]), frame(6, 0, [1, 2, 3])])),
    );
  }));
  const daemon = Bun.spawn([FLANNELD, `--etcd-endpoints=http://127.0.0.1:${server.port}`], {
    stdout: "ignore",
    stderr: "pipe",
  });
  await eventually("five attempts", 30_000, () => connections >= 5 || daemon.exitCode !== null);
  expect(daemon.exitCode).toBe(null);
  daemon.kill("SIGKILL");
  const text = await new Response(daemon.stderr).text();
  expect(text).toContain("handling what an HTTP/2 server sent unrequested failed: Protocol error");
  expect(text).not.toContain("fault of the program");
});
