import { describe, expect, test } from "bun:test";
import type { PerFamily } from "../../../src/addr/family.ts";
import type { IpAddress } from "../../../src/addr/ip.ts";
import { PublicAddressPublisher } from "../../../src/daemon/public_address_publisher.ts";
import type { LeaseAttributes } from "../../../src/subnet/lease.ts";
import { StoreError } from "../../../src/subnet/lease_store.ts";
import { collectingLog } from "../../support/collecting_log.ts";
import { FakeClock, settle } from "../../support/fake_clock.ts";
import { ip } from "../../support/sample_network.ts";

/** A store that refuses as often as a test says, and the advertiser that speaks to it. */
function setUp() {
  const clock = new FakeClock(() => 0);
  const { log, records } = collectingLog();
  const store = { refusals: 0, told: [] as string[] };
  const update = ({ backendType, publicAddresses }: LeaseAttributes): Promise<void> => {
    store.told.push(`${backendType} ${publicAddresses[4]}`);
    if (store.refusals-- <= 0) return Promise.resolve();
    return Promise.reject(new StoreError("no connection"));
  };
  const told = at("192.0.2.1");
  const attributes = { publicAddresses: told, backendType: "vxlan", backendData: {} };
  const advertiser = new PublicAddressPublisher({ own: { update }, attributes, told, clock, log });
  return { clock, store, advertiser, messages: () => records.map(({ msg }) => msg) };
}

function at(address: string): PerFamily<IpAddress> {
  return { 4: ip(address) };
}

describe("a node with another public address", () => {
  test("tells the others at once, and only once", async () => {
    const { store, advertiser, messages } = setUp();
    advertiser.advertise(at("192.0.2.1"));
    advertiser.advertise(at("192.0.2.2"));
    await settle();
    advertiser.advertise(at("192.0.2.2"));
    await settle();
    expect(store.told).toEqual(["vxlan 192.0.2.2"]);
    expect(messages()).toEqual(["the other nodes are told the public address 192.0.2.2"]);
  });

  test("goes on while the store does not answer, and says so once", async () => {
    const { clock, store, advertiser, messages } = setUp();
    store.refusals = 3;
    advertiser.advertise(at("192.0.2.2"));
    await clock.advance(1000);
    expect(store.told).toHaveLength(2); // at 0 and 500 ms; the next at 1500
    const problem =
      "the other nodes do not know the new public address 192.0.2.2 yet: no connection";
    expect(advertiser.problem).toBe(problem);
    await clock.advance(10_000);
    expect(store.told).toHaveLength(4);
    expect(advertiser.problem).toBeUndefined();
    expect(messages()).toEqual([
      `${problem}; it is tried again`,
      "the other nodes are told the public address 192.0.2.2",
    ]);
  });

  test("tells the newest address, also the first one when a failure may have come through", async () => {
    const { clock, store, advertiser } = setUp();
    store.refusals = 1;
    advertiser.advertise(at("192.0.2.2"));
    await settle();
    advertiser.advertise(at("192.0.2.1"));
    await clock.advance(1000);
    expect(store.told).toEqual(["vxlan 192.0.2.2", "vxlan 192.0.2.1"]);
    expect(advertiser.problem).toBeUndefined();
  });

  test("tells of one change at a time", async () => {
    const { clock, store, advertiser } = setUp();
    store.refusals = 1;
    for (const last of [2, 3, 4]) advertiser.advertise(at(`192.0.2.${last}`));
    await clock.advance(1000);
    expect(store.told).toEqual(["vxlan 192.0.2.2", "vxlan 192.0.2.4"]);
  });

  test("does not try again after the end", async () => {
    const { clock, store, advertiser } = setUp();
    store.refusals = Infinity;
    advertiser.advertise(at("192.0.2.2"));
    await settle();
    advertiser[Symbol.dispose]();
    await clock.advance(60_000);
    expect(store.told).toHaveLength(1);
  });
});
