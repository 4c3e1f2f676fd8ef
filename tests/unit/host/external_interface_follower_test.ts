import { beforeEach, expect, test } from "bun:test";
import type { ExternalInterface } from "../../../src/host/external_interface.ts";
import { ExternalInterfaceFollower } from "../../../src/host/external_interface_follower.ts";
import type { HostInterface } from "../../../src/host/host_interface.ts";
import { collectingLog } from "../../support/collecting_log.ts";
import type { KernelEvent } from "../../../src/kernel/kernel.ts";
import type { Resource } from "../../../src/state/resource.ts";
import { FakeClock } from "../../support/fake_clock.ts";
import { external, ip, prefix } from "../../support/sample_network.ts";

let clock: FakeClock;
let messages: () => string[];
let follower: ExternalInterfaceFollower;
/** The interface in the kernel; `undefined` while it cannot be read. */
let host: HostInterface | undefined;
let reads: number;
/** Waited for by each reading. */
let reading: Promise<void>;
let changes: ExternalInterface[];
let checked: ExternalInterface[];
let notify: (event: KernelEvent) => void;

beforeEach(() => {
  clock = new FakeClock();
  const { log, records } = collectingLog();
  messages = () => records.map(({ msg }) => msg);
  host = device();
  reads = 0;
  reading = Promise.resolve();
  changes = [];
  checked = [];
  notify = () => {};
  follower = new ExternalInterfaceFollower({
    external: external([4]),
    given: {},
    readInterfaces: async () => {
      reads++;
      await reading;
      if (host === undefined) throw new Error("cannot read: EMFILE");
      return [host];
    },
    kernel: {
      watch: (listener) => {
        notify = listener;
        return { [Symbol.dispose]: () => void (notify = () => {}) };
      },
    },
    problemOf: ({ mtuBytes }) => mtuBytes < 1000 ? "too small" : undefined,
    onChanged: (next) => Promise.resolve(void changes.push(next)),
    onChecked: (now) => Promise.resolve(void checked.push(now)),
    clock,
    log,
  });
});

function device(mtuBytes = 1500, address = "192.168.0.1"): HostInterface {
  const flags = { prefixLength: 24, isPermanent: true, isTemporary: false, isDeprecated: false };
  return {
    name: "eth0",
    ifindex: 2,
    mtuBytes,
    isUp: true,
    addresses: [{ address: ip(address), ...flags }],
  };
}

test("notifications that arrive together cause one check, which reports the change", async () => {
  for (let i = 0; i < 5; i++) follower.checkSoon();
  await clock.advance(10_000);
  expect([reads, changes]).toEqual([1, []]);
  expect(checked).toHaveLength(1);
  host = device(1400, "192.168.0.9");
  follower.checkSoon();
  await clock.advance(200);
  expect(changes).toEqual([follower.external]);
  expect(checked.at(-1)).toBe(follower.external);
  expect(follower.external).toMatchObject({ mtuBytes: 1400, addresses: { 4: "192.168.0.9" } });
  expect(messages()).toEqual([
    "interface eth0 changed from 192.168.0.1, MTU 1500 to 192.168.0.9, MTU 1400",
  ]);
});

test("a stream of notifications does not postpone the check forever", async () => {
  for (let i = 0; i < 30; i++) {
    follower.checkSoon();
    await clock.advance(100);
  }
  expect(reads).toBeGreaterThanOrEqual(2);
});

test("a failed check is repeated until it succeeds, and logged once", async () => {
  host = undefined;
  follower.checkSoon();
  await clock.advance(12_000);
  expect(reads).toBe(3);
  host = device(1400);
  await clock.advance(5_000);
  expect(changes).toHaveLength(1);
  await clock.advance(60_000);
  expect(reads).toBe(4);
  const lines = messages().filter((message) => message.startsWith("following"));
  expect(lines).toEqual([
    "following the external interface failed: cannot read: EMFILE",
    expect.stringContaining("following the external interface works again after 3 failures"),
  ]);
});

test("a problem is known at once, and logged after the start of reporting", async () => {
  host = device(900);
  expect(await follower.check()).toBe(true);
  expect(follower.problem).toBe("too small");
  host = { ...device(900), name: "eth1", ifindex: 3 };
  expect(await follower.check()).toBe(false);
  expect(follower.problem).toBe("interface eth0 is gone");
  expect(messages()).toHaveLength(1); // The change of the MTU.
  follower.startReporting();
  host = device(900, "192.168.0.9");
  await follower.check();
  host = device();
  await follower.check();
  expect(follower.problem).toBeUndefined();
  expect(messages().filter((message) => !message.includes("changed"))).toEqual([
    "too small",
    "interface eth0 can be used again",
  ]);
});

test("after its end it checks no more", async () => {
  follower.checkSoon();
  await follower[Symbol.asyncDispose]();
  follower.checkSoon();
  notify({ kind: "overrun" });
  await clock.advance(60_000);
  expect(reads).toBe(0);
});

const address = (text: string): Resource => ({
  kind: "address",
  link: "eth7",
  address: ip(text),
  prefixLength: 24,
});

const route = (destination: string): Resource => ({
  kind: "route",
  type: "unicast",
  destination: prefix(destination),
  link: "eth7",
  onlink: false,
  scope: "universe",
  metric: 0,
  protocol: 4,
  table: 254,
});

test.each([
  ["its public address on any interface", address("192.168.0.1"), 1],
  ["another address", address("192.168.0.2"), 0],
  ["a default route", route("0.0.0.0/0"), 1],
  ["another route", route("10.0.0.0/8"), 0],
])("a change of %s causes the right number of checks", async (_what, resource, count) => {
  notify({ kind: "changed", resource, deleted: true });
  await clock.advance(10_000);
  expect(reads).toBe(count);
});

test("lost notifications cause a check", async () => {
  notify({ kind: "overrun" });
  await clock.advance(200);
  expect(reads).toBe(1);
});

test("a notification during a check that fails causes the next one at once", async () => {
  const read = Promise.withResolvers<void>();
  reading = read.promise;
  host = undefined;
  follower.checkSoon();
  await clock.advance(300);
  follower.checkSoon();
  read.resolve();
  await clock.advance(0);
  host = device(1400);
  await clock.advance(200);
  expect([reads, changes.length]).toEqual([2, 1]);
});
