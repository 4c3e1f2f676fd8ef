import { collectingLog } from "../../support/collecting_log.ts";
import { FakeClock } from "../../support/fake_clock.ts";
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { systemClock } from "../../../src/base/clock.ts";
import { createLogger } from "../../../src/log/logger.ts";
import { createNotifier, type Notifier, watchdogPeriodMs } from "../../../src/health/sd_notify.ts";

/** systemd's part: a datagram socket whose messages are printed as JSON lines. */
const RECEIVER = `
import json, socket, sys
path = sys.argv[1]
receiver = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
receiver.bind(chr(0) + path[1:] if path.startswith("@") else path)
print("listening", flush=True)
while True:
    print(json.dumps(receiver.recv(4096).decode()), flush=True)
`;

let directory = "";
beforeAll(() => void (directory = mkdtempSync(`${tmpdir()}/sd-notify-`)));
afterAll(() => rmSync(directory, { recursive: true }));

interface Receiver extends AsyncDisposable {
  next(): Promise<string>;
}

async function receive(path: string): Promise<Receiver> {
  const child = Bun.spawn(["python3", "-c", RECEIVER, path], { stdout: "pipe" });
  const reader = child.stdout.pipeThrough(new TextDecoderStream() as never).getReader();
  let buffered = "";
  const next = async (): Promise<string> => {
    while (!buffered.includes("\n")) {
      const { value, done } = await reader.read() as { value?: string; done: boolean };
      if (done) throw new Error("the receiver has ended");
      buffered += value;
    }
    const end = buffered.indexOf("\n");
    const line = buffered.slice(0, end);
    buffered = buffered.slice(end + 1);
    return line === "listening" ? line : JSON.parse(line) as string;
  };
  expect(await next()).toBe("listening");
  return {
    next,
    [Symbol.asyncDispose]: async () => {
      child.kill();
      await child.exited;
    },
  };
}

function notifier(env: Record<string, string>): { systemd: Notifier; lines: string[] } {
  const lines: string[] = [];
  const log = createLogger({
    format: "text",
    verbosity: 0,
    write: (line) => lines.push(line),
  });
  return { systemd: createNotifier({ log, clock: systemClock, env, pid: 77 }), lines };
}

for (const kind of ["path", "abstract"]) {
  test(`readiness, status and stopping reach a socket with a ${kind} name`, async () => {
    const socket = kind === "path" ? `${directory}/notify` : `@flanneld-test-${process.pid}`;
    await using receiver = await receive(socket);
    const { systemd, lines } = notifier({ NOTIFY_SOCKET: socket });
    systemd.status("waiting for\netcd");
    systemd.ready("3 peers");
    systemd.stopping();
    systemd.status(`a\u202e\nREADY=1 ${"x".repeat(100_000)}`);
    expect(await receiver.next()).toBe("STATUS=waiting for etcd");
    expect(await receiver.next()).toBe("READY=1\nSTATUS=3 peers");
    expect(await receiver.next()).toBe("STOPPING=1\nSTATUS=stopping");
    expect(await receiver.next()).toMatch(/^STATUS=a\\u202e READY=1 x{100,999}…$/);
    expect(lines).toEqual([]);
  });
}

describe("watchdog", () => {
  test("beats at half the time while alive, and stops when disposed", async () => {
    const socket = `${directory}/watchdog`;
    await using receiver = await receive(socket);
    const env = { NOTIFY_SOCKET: socket, WATCHDOG_USEC: "100000", WATCHDOG_PID: "77" };
    const { systemd } = notifier(env);
    let isAlive = true;
    const watchdog = systemd.watchdog(() => isAlive);
    const begun = performance.now();
    for (let i = 0; i < 4; i++) expect(await receiver.next()).toBe("WATCHDOG=1");
    expect(performance.now() - begun).toBeGreaterThan(120);
    // Earlier beats may still be on their way.
    const received = async (word: string) => {
      systemd.status(word);
      while (await receiver.next() !== `STATUS=${word}`);
    };
    isAlive = false;
    await received("ill");
    await Bun.sleep(120);
    systemd.status("hung");
    expect(await receiver.next()).toBe("STATUS=hung");
    isAlive = true;
    expect(await receiver.next()).toBe("WATCHDOG=1");
    watchdog[Symbol.dispose]();
    await received("leaving");
    await Bun.sleep(120);
    systemd.status("done");
    expect(await receiver.next()).toBe("STATUS=done");
  });

  test("is for the process that systemd names", () => {
    expect(watchdogPeriodMs({ WATCHDOG_USEC: "20000000" }, 77)).toBe(10_000);
    expect(watchdogPeriodMs({ WATCHDOG_USEC: "20000000", WATCHDOG_PID: "77" }, 77)).toBe(10_000);
    expect(watchdogPeriodMs({ WATCHDOG_USEC: "20000000", WATCHDOG_PID: "1" }, 77)).toBeUndefined();
    for (const usec of ["0", "", "-5", "x"]) {
      expect(watchdogPeriodMs({ WATCHDOG_USEC: usec }, 77)).toBeUndefined();
    }
    expect(watchdogPeriodMs({}, 77)).toBeUndefined();
  });
});

test("without NOTIFY_SOCKET nothing happens", () => {
  const { systemd, lines } = notifier({ WATCHDOG_USEC: "1000" });
  systemd.ready("x");
  systemd.stopping();
  systemd.watchdog(() => true)[Symbol.dispose]();
  expect(lines).toEqual([]);
});

test("a socket that cannot be reached causes one warning", () => {
  for (const socket of [`${directory}/missing`, `${directory}/${"x".repeat(200)}`]) {
    const { systemd, lines } = notifier({ NOTIFY_SOCKET: socket });
    systemd.ready("x");
    systemd.status("y");
    expect(lines).toHaveLength(1);
    expect(lines[0]).toContain(`cannot notify systemd at NOTIFY_SOCKET=${socket}: `);
  }
});

describe("while the socket is full", () => {
  const EAGAIN = 11;

  /** A socket that takes no message until `room` is true. */
  function fullSocket() {
    const clock = new FakeClock();
    const { log, records } = collectingLog();
    const socket = { room: false, sent: [] as string[] };
    const send = (_path: string, data: Uint8Array): number => {
      if (!socket.room) return EAGAIN;
      socket.sent.push(new TextDecoder().decode(data));
      return 0;
    };
    const env = { NOTIFY_SOCKET: "/run/notify" };
    const systemd = createNotifier({ log, clock, env, pid: 77, send });
    return { clock, socket, systemd, warnings: () => records.map(({ msg }) => msg) };
  }

  test("messages wait, and are sent in order when there is room", async () => {
    const { clock, socket, systemd, warnings } = fullSocket();
    systemd.status("starting");
    systemd.ready("3 peers");
    systemd.stopping();
    await clock.advance(90);
    expect(socket.sent).toEqual([]);
    socket.room = true;
    await clock.advance(5);
    expect(socket.sent).toEqual([
      "STATUS=starting",
      "READY=1\nSTATUS=3 peers",
      "STOPPING=1\nSTATUS=stopping",
    ]);
    expect(warnings()).toEqual([]);
  });

  test("a message is given up after 0.1 s, with one warning for all of them", async () => {
    const { clock, socket, systemd, warnings } = fullSocket();
    systemd.status("starting");
    systemd.status("waiting for etcd");
    await clock.advance(1000);
    expect(warnings()).toEqual([
      "cannot notify systemd at NOTIFY_SOCKET=/run/notify: its queue stays full",
    ]);
    socket.room = true;
    systemd.ready("3 peers");
    expect(socket.sent).toEqual(["READY=1\nSTATUS=3 peers"]);
  });
});
