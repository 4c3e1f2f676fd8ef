import { beforeEach, expect, test } from "bun:test";
import type { ExternalInterface } from "../../../src/host/external_interface.ts";
import { ExternalInterfaceFollower } from "../../../src/host/external_interface_follower.ts";
import type { HostInterface } from "../../../src/host/interface_selection.ts";
import { collectingLog } from "../../support/collecting_log.ts";
import { FakeClock } from "../../support/fake_clock.ts";
import { external, ip } from "../../support/sample_network.ts";

let clock: FakeClock;
let messages: () => string[];
let follower: ExternalInterfaceFollower;
/** What the kernel has; `undefined` while it cannot be asked. */
let host: HostInterface | undefined;
let reads: number;
let changes: ExternalInterface[];
let hinted: ExternalInterface[];

beforeEach(() => {
  clock = new FakeClock();
  const { log, records } = collectingLog();
  messages = () => records.map(({ msg }) => msg);
  host = device();
  reads = 0;
  changes = [];
  hinted = [];
  follower = new ExternalInterfaceFollower({
    external: external([4]),
    given: {},
    read: () => {
      reads++;
      return host ? Promise.resolve([host]) : Promise.reject(new Error("cannot read: EMFILE"));
    },
    whyUnsuitable: ({ mtuBytes }) => mtuBytes < 1000 ? "too small" : undefined,
    onChanged: (next) => Promise.resolve(void changes.push(next)),
    onHinted: (now) => Promise.resolve(void hinted.push(now)),
    clock,
    log,
  });
});

function device(mtuBytes = 1500, address = "192.168.0.1"): HostInterface {
  const flags = { prefixLength: 24, permanent: true, temporary: false, deprecated: false };
  return {
    name: "eth0",
    ifindex: 2,
    mtuBytes,
    up: true,
    addresses: [{ address: ip(address), ...flags }],
  };
}

test("hints that come together make one look, and it tells what is another", async () => {
  for (let i = 0; i < 5; i++) follower.lookSoon();
  await clock.advance(10_000);
  expect([reads, changes]).toEqual([1, []]);
  expect(hinted).toHaveLength(1);
  host = device(1400, "192.168.0.9");
  follower.lookSoon();
  await clock.advance(200);
  expect(changes).toEqual([follower.external]);
  expect(hinted.at(-1)).toBe(follower.external);
  expect(follower.external).toMatchObject({ mtuBytes: 1400, addresses: { 4: "192.168.0.9" } });
  expect(messages()).toEqual([
    "interface eth0 changed from 192.168.0.1, MTU 1500 to 192.168.0.9, MTU 1400",
  ]);
});

test("a stream of hints does not put the look off for ever", async () => {
  for (let i = 0; i < 30; i++) {
    follower.lookSoon();
    await clock.advance(100);
  }
  expect(reads).toBeGreaterThanOrEqual(2);
});

test("a look that fails is made again until it succeeds, and told once", async () => {
  host = undefined;
  follower.lookSoon();
  await clock.advance(12_000);
  expect(reads).toBe(3);
  host = device(1400);
  await clock.advance(5_000);
  expect(changes).toHaveLength(1);
  await clock.advance(60_000);
  expect(reads).toBe(4);
  const told = messages().filter((message) => message.startsWith("following"));
  expect(told).toEqual([
    "following the external interface fails: cannot read: EMFILE",
    expect.stringContaining("following the external interface works again after 3 failures"),
  ]);
});

test("problems are known at once, and told once they are asked to be", async () => {
  host = device(900);
  expect(await follower.look()).toBe(true);
  expect(follower.problem).toBe("too small");
  host = { ...device(900), name: "eth1", ifindex: 3 };
  expect(await follower.look()).toBe(false);
  expect(follower.problem).toBe("interface eth0 is gone");
  expect(messages()).toHaveLength(1); // The change of the MTU.
  follower.startReporting();
  host = device(900, "192.168.0.9");
  await follower.look();
  host = device();
  await follower.look();
  expect(follower.problem).toBeUndefined();
  expect(messages().filter((message) => !message.includes("changed"))).toEqual([
    "too small",
    "interface eth0 can be used again",
  ]);
});

test("after its end it looks no more", async () => {
  follower.lookSoon();
  await follower[Symbol.asyncDispose]();
  follower.lookSoon();
  await clock.advance(60_000);
  expect(reads).toBe(0);
});
