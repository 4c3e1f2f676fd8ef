/** The error for a program that responds where an etcd should. */

import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { type AddressInfo, createServer, type Socket } from "node:net";
import { createServer as createTlsServer } from "node:tls";
import { systemClock } from "../../../src/base/clock.ts";
import { type EtcdEndpoint, parseEndpoints } from "../../../src/etcd/client/endpoint.ts";
import { probeEndpoint } from "../../../src/etcd/client/endpoint_probe.ts";
import { TlsFiles, type TlsMaterial } from "../../../src/base/tls_files.ts";
import { TestCa } from "../../support/certificates.ts";

/** Never comes to pass in a test that passes. */
const LONG_MS = 600_000;
const PORT = "check the port, 2379 unless etcd is configured otherwise";

let ca: TestCa;
let material: TlsMaterial;
let pem: { cert: string; key: string };

beforeAll(() => {
  ca = new TestCa();
  material = new TlsFiles({ caFile: ca.caFile }, { purpose: "etcd" }).current();
  const { certFile, keyFile } = ca.sign("server", ["IP:127.0.0.1"]);
  pem = { cert: readFileSync(certFile, "utf8"), key: readFileSync(keyFile, "utf8") };
});
afterAll(() => ca[Symbol.dispose]());

function endpoint(port: number): EtcdEndpoint {
  return parseEndpoints([`http://127.0.0.1:${port}`], { defaultScheme: "http" })[0] as EtcdEndpoint;
}

/** What is said of a server that does this with each connection. */
async function said(
  serve: (socket: Socket) => void,
  { isSecure = false, tls, timeoutMs = LONG_MS }: {
    readonly isSecure?: boolean;
    readonly tls?: TlsMaterial;
    readonly timeoutMs?: number;
  } = {},
): Promise<string | undefined> {
  const accept = (socket: Socket) => {
    socket.on("error", () => {});
    serve(socket);
  };
  const server = isSecure
    ? createTlsServer({ ...pem, ALPNProtocols: ["http/1.1"] }, accept)
    : createServer(accept);
  server.on("tlsClientError", () => {});
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  try {
    return await probeEndpoint(
      endpoint((server.address() as AddressInfo).port),
      { material: tls, timeoutMs, clock: systemClock },
    );
  } finally {
    server.close();
  }
}

/** Answers once it was asked. */
function answering(answer: string | Uint8Array): (socket: Socket) => void {
  return (socket) => void socket.once("data", () => socket.end(answer));
}

const ok = (body: string) => `HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n${body}`;

describe("probeEndpoint() asks", () => {
  test("for the version, in HTTP/1.1, and puts the answer together", async () => {
    let request = "";
    const answer = await said((socket) => {
      socket.once("data", (chunk) => {
        request = String(chunk);
        socket.write('HTTP/1.1 200 OK\r\n\r\n{"etcdser', () => {
          setTimeout(() => socket.end('ver":"2.3.8"}'), 20);
        });
      });
    });
    expect(request).toBe(
      "GET /version HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n",
    );
    expect(answer).toStartWith("etcd 2.3.8 answers there");
  });

  test("in vain where nothing is said, or nothing listens", async () => {
    expect(await said((socket) => socket.end())).toBeUndefined();
    expect(await said((socket) => socket.resetAndDestroy())).toBeUndefined();
    expect(await said(() => {}, { timeoutMs: 50 })).toBeUndefined();
    const server = createServer();
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    const { port } = server.address() as AddressInfo;
    await new Promise((resolve) => server.close(resolve));
    expect(
      await probeEndpoint(endpoint(port), {
        material: undefined,
        timeoutMs: LONG_MS,
        clock: systemClock,
      }),
    ).toBeUndefined();
  });

  test("only as long as it may, and takes what has come until then", async () => {
    let isClosed: Promise<unknown> | undefined;
    const answer = await said((socket) => {
      isClosed = new Promise((resolve) => socket.on("close", resolve));
      socket.resume();
      socket.write("SSH-2.0-OpenSSH\r\n");
    }, { timeoutMs: 200 });
    expect(answer).toStartWith("an SSH server answers there");
    await isClosed;
  });

  test("for no more than some kilobytes", async () => {
    let isClosed: Promise<unknown> | undefined;
    const answer = await said((socket) => {
      isClosed = new Promise((resolve) => socket.on("close", resolve));
      socket.resume();
      socket.write(ok(`${"x".repeat(4096)}"etcdserver":"2.3.8"`));
    });
    expect(answer).toStartWith("a web server or proxy answers there, not etcd (HTTP 200)");
    await isClosed;
  });
});

describe("probeEndpoint() recognizes", () => {
  test.each([
    ["HTTP/1.1 404 Not Found\r\nServer: nginx/1.22.1\r\n\r\n", '"nginx/1.22.1", HTTP 404'],
    ["HTTP/1.0 503 Busy\r\nA: b\r\nSERVER:  Apache \r\n\r\n", '"Apache ", HTTP 503'],
    ["HTTP/1.1 400 Bad\r\nserver:\tone\nX-Server: other\r\n\r\n", '"one", HTTP 400'],
    ["HTTP/1.1 200 OK\r\nX-Server: other\r\n\r\n", "HTTP 200"],
    [`HTTP/1.1 200 OK\r\n\r\n{"etcdserver":"${"3".repeat(41)}"}`, "HTTP 200"],
    ['HTTP/1.1 200 OK\r\n\r\n{"etcdserver":"3 5"}', "HTTP 200"],
    ["HTTP/1.1 x\r\nA: HTTP/1.1 200\r\n\r\n", "HTTP "],
  ])("a web server: %j", async (answer, what) => {
    expect(await said(answering(answer))).toBe(
      `a web server or proxy answers there, not etcd (${what}): check the address and the port, ` +
        "2379 unless etcd is configured otherwise; a proxy in front of etcd has to forward HTTP/2",
    );
  });

  test.each(["0.4.9", "1.0.0", "2.3.8"])("etcd %s, which has no v3 API", async (version) => {
    expect(await said(answering(ok(`{"etcdserver": "${version}"}`)))).toBe(
      `etcd ${version} answers there, which has no v3 API: etcd 3.4 or newer is needed`,
    );
  });

  test.each(["3.5.9", "3.6.0-rc.1+x", "12.0", "3.12.1"])(
    "etcd %s behind a proxy",
    async (version) => {
      expect(await said(answering(ok(`{"etcdserver":"${version}"}`)))).toBe(
        `etcd ${version} answers there in HTTP/1.1 only: a proxy in front of it has to forward ` +
          "HTTP/2",
      );
    },
  );

  test.each([
    Uint8Array.of(21, 3, 3, 0, 2),
    Uint8Array.of(21, 3, 1),
    "HTTP/1.0 400 Bad Request\r\n\r\nClient sent an HTTP request to an HTTPS server.\n",
    "HTTP/1.1 400 Bad Request\r\n\r\nThe plain HTTP request was sent to HTTPS port",
    "HTTP/1.1 400 Bad Request\r\n\r\nyou're speaking plain HTTP to an SSL-enabled server port.",
  ])("a server that wants TLS: %j", async (answer) => {
    expect(await said(answering(answer))).toMatch(
      /^a TLS server answers there: write https:\/\/\S+:\d+$/,
    );
    // Over TLS, it reports nothing.
    expect(await said(answering(answer), { tls: material })).toBeUndefined();
  });

  test.each([
    [
      "SSH-2.0-OpenSSH_9.2\r\nmore",
      'an SSH server answers there, not etcd, with "SSH-2.0-OpenSSH_9.2"',
    ],
    ["220 mail\nmore", 'another program answers there, not etcd, with "220 mail"'],
    ["no SSH-2.0", 'another program answers there, not etcd, with "no SSH-2.0"'],
    ["HTTP/2 400\r\n", 'another program answers there, not etcd, with "HTTP/2 400"'],
    ["an HTTP/1.1 200\r\n", 'another program answers there, not etcd, with "an HTTP/1.1 200"'],
  ])("another program by what it says: %j", async (answer, text) => {
    expect(await said(answering(answer))).toBe(`${text}: ${PORT}`);
  });

  test.each([
    ["an alert that is cut off", [21, 3]],
    ["another record", [22, 3, 3]],
    ["an alert of another version", [21, 4, 3]],
    ["settings that are cut off", [0, 0, 0, 4, 0, 0, 0, 0]],
    ["settings of millions of bytes", [1, 0, 0, 4, 0, 0, 0, 0, 0]],
    ["another frame", [0, 0, 0, 5, 0, 0, 0, 0, 0]],
    ["settings of a stream", [0, 0, 0, 4, 0, 0, 0, 0, 1]],
  ])("no TLS and no HTTP/2 in %s", async (_what, bytes) => {
    expect(await said(answering(Uint8Array.from(bytes)))).toStartWith(
      "another program answers there, not etcd, with ",
    );
  });

  test("nothing in what HTTP/2 servers begin with, as an etcd does", async () => {
    for (const bytes of [[0, 0, 0, 4, 0, 0, 0, 0, 0], [0, 0, 6, 4, 0, 0, 0, 0, 0, 0, 3]]) {
      expect(await said(answering(Uint8Array.from(bytes)))).toBeUndefined();
    }
  });
});

describe("probeEndpoint() of an https endpoint", () => {
  test("asks in TLS", async () => {
    const tls = { tls: material, isSecure: true };
    expect(await said(answering("HTTP/1.1 404 Not Found\r\n\r\n"), tls)).toStartWith(
      "a web server or proxy answers there, not etcd (HTTP 404)",
    );
    expect(await said(answering(ok('{"etcdserver":"3.5.9"}')), tls)).toStartWith(
      "etcd 3.5.9 answers there in HTTP/1.1 only",
    );
  });

  test("asks without TLS where that brings nothing", async () => {
    const tls = { tls: material };
    expect(await said(answering(ok('{"etcdserver":"3.5.9"}')), tls)).toMatch(
      /^etcd 3\.5\.9 answers there without TLS: write http:\/\/\S+:\d+$/,
    );
    expect(await said(answering("HTTP/1.1 404 Not Found\r\n\r\n"), tls)).toStartWith(
      "a web server or proxy answers there, not etcd (HTTP 404)",
    );
    expect(await said((socket) => socket.end("SSH-2.0-x\r\n"), tls)).toStartWith("an SSH server");
  });

  test("trusts no server whose certificate is of another authority", async () => {
    using stranger = new TestCa("stranger");
    const tls = new TlsFiles({ caFile: stranger.caFile }, { purpose: "etcd" }).current();
    let isAsked = false;
    const serve = (socket: Socket) => {
      socket.once("data", () => {
        isAsked = true;
        socket.end("SSH-2.0-x\r\n");
      });
    };
    expect(await said(serve, { tls, isSecure: true })).toBeUndefined();
    expect(isAsked).toBe(false);
  });
});
