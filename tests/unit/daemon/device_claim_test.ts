import { expect, test } from "bun:test";
import { BackendError } from "../../../src/overlay/backend_error.ts";
import { claimDevice } from "../../../src/daemon/device_claim.ts";
import { collectingLog } from "../../support/collecting_log.ts";
import { FakeClock } from "../../support/fake_clock.ts";

/** A device of nobody else, and what it takes to claim it. */
function setUp() {
  const clock = new FakeClock();
  const { log, records } = collectingLog();
  const stop = new AbortController();
  const device = crypto.randomUUID();
  const claim = () => claimDevice(device, { log, clock, stop: stop.signal });
  return { clock, records, stop, device, claim };
}

test("a device can be claimed again after its claim, not before, and the holder is named", async () => {
  const { clock, records, device, claim } = setUp();
  const first = await claim();
  const second = claim().catch((error: unknown) => error);
  await clock.advance(10_000);
  const error = await second as BackendError;
  expect(error).toBeInstanceOf(BackendError);
  const other = `another flanneld on this host (process ${process.pid}) has the device ${device}`;
  expect(error.message).toStartWith(`${other}, and there is one in each network namespace: end`);
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

test("whoever waits ends when it is told to", async () => {
  const { clock, stop, claim } = setUp();
  using _first = await claim();
  const second = claim().catch((error: unknown) => error);
  await clock.advance(1_000);
  stop.abort(new Error("the daemon ends"));
  expect((await second as Error).message).toBe("the daemon ends");
});

test("a user of this machine who takes the name keeps no daemon out", async () => {
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
    `cannot tell whether another flanneld has the device ${device}: process ${user.pid} of user ` +
    "65534, not 0, has taken the name for it",
  ]);
});
