/** A charon of another network namespace cannot be used here and is never adopted. */

import { afterAll, expect, test } from "bun:test";
import { mkdtempSync, readlinkSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { connectCharon } from "../../../../src/backend/ipsec/charon.ts";
import { SOCKET_VARIABLE } from "../../../../src/backend/ipsec/charon_paths.ts";
import { systemClock } from "../../../../src/base/clock.ts";
import { ForeignCharonError } from "../../../../src/backend/ipsec/foreign_charon.ts";
import { BackendError } from "../../../../src/overlay/backend_error.ts";
import { listenerNamespace } from "../../../../src/process/listener_namespace.ts";
import { warningsLog } from "../../../support/sample_network.ts";
import { FakeCharon } from "../../../support/fake_charon.ts";

const directory = mkdtempSync(join(tmpdir(), "charon-namespace-"));
const socket = join(directory, "charon.vici");
afterAll(() => rmSync(directory, { recursive: true }));

const MODULE = JSON.stringify(join(import.meta.dir, "../../../support/fake_charon.ts"));

/** A charon at `socket` in other namespaces. */
async function foreignCharon(...namespaces: string[]): Promise<Bun.Subprocess> {
  const script = `import { FakeCharon } from ${MODULE};
    (await import("node:fs")).rmSync(${JSON.stringify(socket)}, { force: true });
    new FakeCharon(${JSON.stringify(socket)});
    console.log("listens");`;
  const command = ["unshare", ...namespaces, process.execPath, "-e", script];
  const child = Bun.spawn(command, { stdout: "pipe" });
  await child.stdout.getReader().read();
  return child;
}

async function refusal(env: Record<string, string> = {}): Promise<Error> {
  const options = {
    runDirectory: directory,
    env,
    clock: systemClock,
    log: warningsLog(),
  };
  return await connectCharon(options, new AbortController().signal).then(
    () => new Error("none"),
    (error: Error) => error,
  );
}

test("a charon of this network namespace is here, and one that has ended is absent", () => {
  const path = join(directory, "here");
  expect(listenerNamespace(path)).toEqual({ kind: "absent" });
  using _charon = new FakeCharon(path);
  expect(listenerNamespace(path)).toEqual({ kind: "here" });
});

test("one of another network namespace is refused, with both namespaces", async () => {
  const charon = await foreignCharon("--net");
  const { pid } = charon;
  const [theirs, ours] = [readlinkSync(`/proc/${pid}/ns/net`), readlinkSync("/proc/self/ns/net")];
  expect(listenerNamespace(socket)).toEqual({ kind: "elsewhere", pid, namespace: theirs });
  const foreign = await refusal();
  expect(foreign).toBeInstanceOf(ForeignCharonError);
  expect(foreign).toMatchObject({ socket, listener: { pid, namespace: theirs } });
  expect(foreign.message).toBe(
    `the charon at ${socket} is process ${pid} in network namespace ${theirs}; this ` +
      `daemon is in ${ours}, where that charon creates no tunnels: give each network namespace ` +
      "its own /run (mount --bind DIRECTORY /run, in a mount namespace), or stop it with " +
      `"kill ${pid}"`,
  );
  const named = await refusal({ [SOCKET_VARIABLE]: socket });
  expect(named).toBeInstanceOf(BackendError);
  expect(named.message).toBe(
    `CHARON_VICI_SOCKET names ${socket}, whose charon is process ${pid} in network namespace ` +
      `${theirs}; this daemon is in ${ours}, where that charon creates no tunnels: name one that ` +
      "runs here, or unset the variable to let flanneld start one",
  );
  charon.kill("SIGKILL");
  await charon.exited;
});
