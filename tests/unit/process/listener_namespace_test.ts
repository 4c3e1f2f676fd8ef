/**
 * Listeners are processes of other namespaces; one of them hands its socket on to a child and ends.
 */

import { afterAll, afterEach, expect, test } from "bun:test";
import { mkdtempSync, readlinkSync, rmSync } from "node:fs";
import { createConnection } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { listenerNamespace } from "../../../src/process/listener_namespace.ts";

const directory = mkdtempSync(join(tmpdir(), "listener-"));
const path = join(directory, "socket");
const started: Bun.Subprocess[] = [];
afterEach(async () => {
  rmSync(path, { force: true }); // That ends the process that has the socket.
  for (const child of started.splice(0)) await child.exited;
});
afterAll(() => rmSync(directory, { recursive: true }));

/** Listens until the socket is removed, two minutes at most. */
const LISTENER = `import os, socket, sys, time
listener = socket.socket(socket.AF_UNIX)
listener.bind(sys.argv[1])
listener.listen()
if sys.argv[2] == "hand on" and os.fork() != 0: os._exit(0)
print("listens", flush=True)
end = time.monotonic() + 120
while os.path.exists(sys.argv[1]) and time.monotonic() < end: time.sleep(0.02)`;

async function listen(how: "stay" | "hand on", ...namespaces: string[]): Promise<number> {
  const unshare = namespaces.length === 0 ? [] : ["unshare", ...namespaces];
  const command = [...unshare, "python3", "-c", LISTENER, path, how];
  const child = Bun.spawn(command, { stdin: "ignore", stdout: "pipe" });
  started.push(child);
  await child.stdout.getReader().read();
  if (how === "hand on") await child.exited;
  return child.pid;
}

test("without a listener it is absent", () => {
  expect(listenerNamespace(path)).toEqual({ kind: "absent" });
});

test.each(["stay", "hand on"] as const)(
  "one of this network namespace is here (%s)",
  async (how) => {
    await listen(how);
    expect(listenerNamespace(path)).toEqual({ kind: "here" });
  },
);

/** From here: its other end has the listener's path, in this network namespace. */
async function connect(): Promise<Disposable> {
  const connection = createConnection(path);
  const connected = Promise.withResolvers<void>();
  connection.on("connect", () => connected.resolve());
  await connected.promise;
  return { [Symbol.dispose]: () => void connection.destroy() };
}

test("one of another is elsewhere, also while it has a connection", async () => {
  const pid = await listen("stay", "--net");
  const namespace = readlinkSync(`/proc/${pid}/ns/net`);
  expect(namespace).not.toBe(readlinkSync("/proc/self/ns/net"));
  expect(listenerNamespace(path)).toEqual({ kind: "elsewhere", pid, namespace });
  using _connection = await connect();
  expect(listenerNamespace(path)).toEqual({ kind: "elsewhere", pid, namespace });
});

test("one of another whose first process has ended is hidden, also while it has one", async () => {
  await listen("hand on", "--net");
  expect(listenerNamespace(path)).toEqual({ kind: "hidden" });
  using _connection = await connect();
  expect(listenerNamespace(path)).toEqual({ kind: "hidden" });
});
