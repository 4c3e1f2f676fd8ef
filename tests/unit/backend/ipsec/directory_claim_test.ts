/** Claims of a run directory and its charon; other daemons are processes that hold the lock. */

import { afterEach, beforeEach, expect, test } from "bun:test";
import { mkdtempSync, readlinkSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { claimDirectory } from "../../../../src/backend/ipsec/directory_claim.ts";
import { BackendError } from "../../../../src/overlay/backend_error.ts";
import { collectingLog } from "../../../support/collecting_log.ts";
import { FakeClock } from "../../../support/fake_clock.ts";

let directory = "";
beforeEach(() => void (directory = mkdtempSync(join(tmpdir(), "claim-"))));
afterEach(() => rmSync(directory, { recursive: true }));

function setUp() {
  const clock = new FakeClock();
  const { log, records } = collectingLog();
  const stop = new AbortController();
  const claim = () => claimDirectory(directory, { log, clock, stop: stop.signal });
  return { clock, records, stop, claim };
}

const MODULE = JSON.stringify(
  join(import.meta.dir, "../../../../src/backend/ipsec/directory_claim.ts"),
);

/** Another process that claims the directory and keeps running, in new namespaces if named. */
async function otherDaemon(...namespaces: string[]): Promise<Bun.Subprocess> {
  const script = `import { claimDirectory } from ${MODULE};
    const log = { info() {}, warn() {} };
    const clock = { nowMs: () => performance.now() };
    const stop = new AbortController().signal;
    await claimDirectory(${JSON.stringify(directory)}, { log, clock, stop });
    console.log("claimed");
    setInterval(() => {}, 1e6);`;
  const isolated = namespaces.length === 0 ? [] : ["unshare", ...namespaces];
  const child = Bun.spawn([...isolated, process.execPath, "-e", script], { stdout: "pipe" });
  const { value } = await child.stdout.getReader().read();
  expect(new TextDecoder().decode(value)).toBe("claimed\n");
  return child;
}

async function refusal({ claim, clock }: ReturnType<typeof setUp>): Promise<string> {
  const refused = claim().catch((error: unknown) => error);
  await clock.advance(10_000);
  const error = await refused as BackendError;
  expect(error).toBeInstanceOf(BackendError);
  return error.message;
}

const own = () => readlinkSync("/proc/self/ns/net");

test("a directory is refused while another daemon of this network namespace has it", async () => {
  const setting = setUp();
  const other = await otherDaemon();
  expect(await refusal(setting)).toBe(
    `another flanneld (process ${other.pid}) has the run directory ${directory}, whose charon ` +
      "can serve only one daemon: stop the other one, or start this one with --subnet-file in " +
      `another directory and CHARON_VICI_SOCKET=${directory}/charon.vici`,
  );
  expect(setting.records.map(({ msg }) => msg)).toEqual([
    `another flanneld (process ${other.pid}) has the run directory ${directory}; waiting for ` +
    "it to end",
  ]);
  other.kill("SIGKILL");
  await other.exited;
  (await setting.claim())[Symbol.dispose]();
  (await setting.claim())[Symbol.dispose]();
});

test("a daemon of another network namespace is named with both namespaces", async () => {
  const other = await otherDaemon("--net");
  const theirs = readlinkSync(`/proc/${other.pid}/ns/net`);
  expect(theirs).not.toBe(own());
  expect(await refusal(setUp())).toBe(
    `another flanneld (process ${other.pid}) in network namespace ${theirs} has the run ` +
      `directory ${directory}, whose charon serves that network namespace only; this daemon is ` +
      `in ${own()}: ` +
      "give each network namespace its own /run (mount --bind DIRECTORY /run, in a mount " +
      "namespace)",
  );
  other.kill("SIGKILL");
  await other.exited;
});

test("the process number of another container is marked as such", async () => {
  const other = await otherDaemon("--net", "--pid", "--fork", "--kill-child", "--mount-proc");
  expect(await refusal(setUp())).toContain(
    "another flanneld (process 1 of another container) in network namespace net:[",
  );
  other.kill("SIGKILL");
  await other.exited;
});

test("waits for a daemon that is about to end", async () => {
  const { clock, claim } = setUp();
  const first = await claim();
  const second = claim();
  await clock.advance(5000);
  first[Symbol.dispose]();
  await clock.advance(1000);
  (await second)[Symbol.dispose]();
});

test("invalid content of the file is ignored, and the wait ends with the daemon", async () => {
  const { clock, stop, records, claim } = setUp();
  using _first = await claim();
  writeFileSync(join(directory, "charon.lock"), '{"pid":1,"networkNamespace":"\\u001b[31m"}');
  const second = claim().catch((error: unknown) => error);
  await clock.advance(1000);
  expect(records[0]?.msg).toBe(
    `another flanneld has the run directory ${directory}; waiting for it to end`,
  );
  stop.abort(new Error("the daemon ends"));
  expect((await second as Error).message).toBe("the daemon ends");
});

test.each([
  [
    "a FIFO",
    (path: string) => void Bun.spawnSync(["mkfifo", path]),
    "is a FIFO, not a regular file",
  ],
  ["a link", (path: string) => symlinkSync("/dev/null", path), "is a device, not a regular file"],
  ["a link to a file", (path: string) => symlinkSync("else", path), "ELOOP"],
])("%s at the lock file's path is one line", async (_what, make, expected) => {
  const { claim } = setUp();
  writeFileSync(join(directory, "else"), "");
  make(join(directory, "charon.lock"));
  const error = await claim().catch((one: unknown) => one) as Error;
  expect(error).toBeInstanceOf(BackendError);
  expect(error.message).toContain(expected);
});

test("a directory that cannot be written to is one line", async () => {
  writeFileSync(join(directory, "file"), "");
  const { log } = collectingLog();
  const options = { log, clock: new FakeClock(), stop: new AbortController().signal };
  const path = join(directory, "file", "run");
  const error = await claimDirectory(path, options).catch((one: unknown) => one) as Error;
  expect(error).toBeInstanceOf(BackendError);
  expect(error.message).toStartWith(`cannot open the lock file ${path}/charon.lock`);
});
