/** The socket itself: who gets it, what it answers, and what clients cannot do. */

import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import {
  existsSync,
  lstatSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { systemClock } from "../../../src/base/clock.ts";
import { SocketClaimError } from "../../../src/control/socket_claim.ts";
import { readStatus, socketsIn, StatusCallError } from "../../../src/control/status_client.ts";
import { statusSocketPath } from "../../../src/control/status_path.ts";
import { serveStatus } from "../../../src/control/status_server.ts";
import { collectingLog } from "../../support/collecting_log.ts";
import { READY } from "../../support/status_documents.ts";
import { eventually } from "../../support/wait.ts";

let directory: string;
let path: string;
let log: ReturnType<typeof collectingLog>;

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), "status-"));
  path = join(directory, "flanneld.sock");
  log = collectingLog();
});

afterEach(() => rmSync(directory, { recursive: true }));

const LARGE = { text: "x".repeat(4_000_000) };

function serve(connectionMs = 10_000): Disposable {
  return serveStatus({
    path,
    documents: {
      "/v1/status": () => READY,
      "/v1/large": () => LARGE,
      "/v1/bug": () => {
        throw new Error("a bug");
      },
    },
    clock: systemClock,
    log: log.log,
    connectionMs,
  });
}

async function call(target: string, init: RequestInit = {}): Promise<[number, unknown]> {
  const response = await fetch(`http://flanneld${target}`, { ...init, unix: path });
  return [response.status, await response.json()];
}

/** What the server sends until it closes the connection. */
async function raw(text: string | Uint8Array): Promise<string> {
  const { promise, resolve } = Promise.withResolvers<string>();
  let received = "";
  const socket = await Bun.connect({
    unix: path,
    socket: {
      data: (_, bytes) => void (received += Buffer.from(bytes).toString()),
      close: () => resolve(received),
    },
  });
  socket.write(text);
  return await promise;
}

describe("the path", () => {
  test.each([
    ["/run/flannel/subnet.env", "/run/flannel/flanneld.sock"],
    ["/run/other/subnet.env", "/run/other/flanneld.sock"],
    ["/run/flannel/blue.env", "/run/flannel/blue.env.sock"],
    ["/run/flannel/../x/blue", "/run/x/blue.sock"],
  ])("of %s is %s", (file, socket) => expect(statusSocketPath(file)).toBe(socket));

  test("is a socket of mode 0600, removed at the end, with nothing next to it", () => {
    {
      using _ = serve();
      expect(lstatSync(path).isSocket()).toBe(true);
      expect(lstatSync(path).mode & 0o777).toBe(0o600);
      expect(lstatSync(path).uid).toBe(process.geteuid?.() as number);
      expect(socketsIn(directory)).toEqual([path]);
    }
    expect(socketsIn(directory)).toEqual([]);
    expect(existsSync(path)).toBe(false);
  });

  test("of a process that was killed is replaced", async () => {
    const child = Bun.spawn([
      process.execPath,
      "-e",
      `
      Bun.listen({ unix: ${JSON.stringify(path)}, socket: { data() {} } }); console.log("up");`,
    ], {
      stdout: "pipe",
      env: { ...process.env, BUN_BE_BUN: "1" },
    });
    await child.stdout.getReader().read();
    expect(serve).toThrow(/^another process \(process \d+\) listens there; give each flanneld/);
    child.kill("SIGKILL");
    await child.exited;
    expect(lstatSync(path).isSocket()).toBe(true);
    using _ = serve();
    expect(await call("/v1/status")).toEqual([200, READY]);
  });

  test("of a live daemon is not taken, and that one continues to answer", async () => {
    using _ = serve();
    expect(serve).toThrow(SocketClaimError);
    expect(await call("/v1/status")).toEqual([200, READY]);
  });

  test("that is something else is left alone", () => {
    const target = join(directory, "target");
    writeFileSync(target, "precious");
    symlinkSync(target, path);
    expect(serve).toThrow("it is a symbolic link, not a socket; remove it");
    rmSync(path);
    writeFileSync(path, "precious");
    expect(serve).toThrow("it is a regular file, not a socket; remove it");
    expect(readFileSync(path, "utf8")).toBe("precious");
    expect(readFileSync(target, "utf8")).toBe("precious");
  });

  test("that another process has by now is not removed at the end", () => {
    const server = serve();
    rmSync(path);
    writeFileSync(path, "precious");
    server[Symbol.dispose]();
    expect(readFileSync(path, "utf8")).toBe("precious");
  });

  test("that cannot be removed at the end does not prevent the end", async () => {
    path = join(directory, "run", "flanneld.sock");
    const server = serve();
    const client = await Bun.connect({ unix: path, socket: { data: () => undefined } });
    rmSync(join(directory, "run"), { recursive: true });
    writeFileSync(join(directory, "run"), "");
    server[Symbol.dispose]();
    await eventually("the server has ended", 5_000, () => client.readyState !== 1);
  });

  test("that is too long, or cannot be made, is refused with the reason", () => {
    path = join(directory, `${"x".repeat(100)}.sock`);
    expect(serve).toThrow("the path has more than the 107 bytes that Linux allows; choose a");
    writeFileSync(join(directory, "file"), "");
    path = join(directory, "file", "flanneld.sock");
    expect(serve).toThrow(SocketClaimError);
  });
});

describe("a request", () => {
  test("is answered with the document", async () => {
    using _ = serve();
    expect(await call("/v1/status")).toEqual([200, READY]);
    expect(await call("/v1/status?pretty")).toEqual([200, READY]);
    expect(await readStatus(path)).toEqual(READY);
  });

  test("for what does not exist, or with another method, is refused", async () => {
    using _ = serve();
    const error = "not found; try /v1/status, /v1/large, /v1/bug";
    expect(await call("/v2/status")).toEqual([404, { error }]);
    expect(await call("/toString")).toEqual([404, { error }]);
    const post = { method: "POST", body: "{}" };
    expect(await call("/v1/status", post)).toEqual([405, { error: "only GET is served" }]);
  });

  test("that finds a bug gets an error, which is logged", async () => {
    using _ = serve();
    const error = "internal error; the log has the reason";
    expect(await call("/v1/bug")).toEqual([500, { error }]);
    expect(log.records.map(({ msg }) => msg))
      .toEqual(["cannot make the document /v1/bug; this is a bug in flanneld"]);
  });

  test("may come in pieces, and end with bare line feeds", async () => {
    using _ = serve();
    const { promise, resolve } = Promise.withResolvers<string>();
    const socket = await Bun.connect({
      unix: path,
      socket: { data: (_, bytes) => resolve(Buffer.from(bytes).toString()) },
    });
    for (const piece of ["GE", "T /v1/status HT", "TP/1.0\nHost: x\n", "\n"]) {
      socket.write(piece);
      await Bun.sleep(20);
    }
    expect(await promise).toStartWith("HTTP/1.1 200 OK\r\n");
  });
});

describe("a client", () => {
  test("that sends garbage is refused", async () => {
    using _ = serve();
    expect(await raw("\x16\x03\x01\0\r\n\r\n")).toStartWith("HTTP/1.1 400 Bad Request\r\n");
    expect(await raw("GET /v1/status\r\n\r\n")).toStartWith("HTTP/1.1 400 ");
    expect(await raw(new Uint8Array(100_000))).toStartWith("HTTP/1.1 431 ");
    expect(await raw(`GET /v1/status HTTP/1.1\r\nX: ${"x".repeat(9000)}\r\n\r\n`))
      .toStartWith("HTTP/1.1 431 ");
    expect(await call("/v1/status")).toEqual([200, READY]);
  });

  test("that sends nothing, or half a request, is disconnected in time", async () => {
    using _ = serve(200);
    expect(await Promise.all([raw(""), raw("GET /v1/sta")])).toEqual(["", ""]);
  });

  test("that does not read the answer is disconnected in time; others are answered", async () => {
    using _ = serve(300);
    const { promise, resolve } = Promise.withResolvers<void>();
    const socket = await Bun.connect({
      unix: path,
      socket: { data: () => undefined, close: () => resolve() },
    });
    socket.pause();
    socket.write("GET /v1/large HTTP/1.1\r\n\r\n");
    expect(await call("/v1/status")).toEqual([200, READY]);
    await Bun.sleep(600);
    socket.resume();
    await promise;
  });

  test("gets a large document in full", async () => {
    using _ = serve();
    expect(await call("/v1/large")).toEqual([200, LARGE]);
  });

  test("that holds many connections is limited, and only as long as it holds them", async () => {
    using _ = serve(1000);
    const held = await Promise.all(
      Array.from(
        { length: 16 },
        () => Bun.connect({ unix: path, socket: { data: () => undefined } }),
      ),
    );
    const answer = await raw("");
    expect(answer).toStartWith("HTTP/1.1 503 Service Unavailable\r\n");
    expect(answer).toContain("more than 16 connections");
    for (const one of held) one.end();
    await eventually("there is room", 5_000, async () => (await call("/v1/status"))[0] === 200);
  });
});

describe("without a daemon", () => {
  test("there is none to ask", async () => {
    expect(socketsIn(join(directory, "missing"))).toEqual([]);
    const error = await readStatus(path).catch((reason: unknown) => reason);
    expect(error).toBeInstanceOf(StatusCallError);
    expect(error).toMatchObject({ isAbsent: true });
  });

  test("another program that answers is noticed", async () => {
    using _ = serveStatus({
      path,
      documents: { "/v1/status": () => ["\u001b[2J"] },
      clock: systemClock,
      log: log.log,
    });
    await expect(readStatus(path)).rejects.toThrow(`another program answers at ${path}`);
  });
});
