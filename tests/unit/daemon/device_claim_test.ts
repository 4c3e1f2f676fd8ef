import { expect, test } from "bun:test";
import { BackendError } from "../../../src/overlay/backend_error.ts";
import { claimDevice } from "../../../src/daemon/device_claim.ts";
import { collectingLog } from "../../support/collecting_log.ts";
import { FakeClock } from "../../support/fake_clock.ts";

/** A device that no other process uses, and a function that claims it. */
function setUp() {
  const clock = new FakeClock();
  const { log, records } = collectingLog();
  const stop = new AbortController();
  const device = crypto.randomUUID();
  const claim = () => claimDevice(device, { log, clock, stop: stop.signal });
  return { clock, records, stop, device, claim };
}

test("a device is free after its release; until then, its holder is named", async () => {
  const { clock, records, device, claim } = setUp();
  const first = await claim();
  const second = claim().catch((error: unknown) => error);
  await clock.advance(10_000);
  const error = await second as BackendError;
  expect(error).toBeInstanceOf(BackendError);
  const other = `another flanneld on this host (process ${process.pid}) uses the device ${device}`;
  expect(error.message).toBe(
    `${other}, of which a network namespace has one: stop that flanneld, or give one of the two ` +
      "another backend",
  );
  expect(records.map(({ msg }) => msg)).toEqual([`${other}; waiting for it to end`]);
  first[Symbol.dispose]();
  (await claim())[Symbol.dispose]();
});

test("a device whose daemon is about to end is waited for", async () => {
  const { clock, claim } = setUp();
  const first = await claim();
  const second = claim();
  await clock.advance(5_000);
  first[Symbol.dispose]();
  await clock.advance(1_000);
  (await second)[Symbol.dispose]();
});

test("the wait ends with the reason of its signal", async () => {
  const { clock, stop, claim } = setUp();
  using _first = await claim();
  const second = claim().catch((error: unknown) => error);
  await clock.advance(1_000);
  stop.abort(new Error("the daemon ends"));
  expect((await second as Error).message).toBe("the daemon ends");
});

test("a name that another user holds keeps no daemon out", async () => {
  const { records, device, claim } = setUp();
  const script = `import os, socket, sys
os.setuid(65534)
taken = socket.socket(socket.AF_UNIX)
taken.bind(b"\\0flanneld/${device}")
taken.listen()
print("taken", flush=True)
sys.stdin.read()`;
  const user = Bun.spawn(["python3", "-c", script], { stdin: "pipe", stdout: "pipe" });
  await user.stdout.getReader().read();
  (await claim())[Symbol.dispose]();
  user.kill();
  await user.exited;
  expect(records.map(({ msg }) => msg)).toEqual([
    `cannot determine whether another flanneld uses the device ${device}: process ${user.pid} ` +
    "of user 65534, not 0, holds its name",
  ]);
});
