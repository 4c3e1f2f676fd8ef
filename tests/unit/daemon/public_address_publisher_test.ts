import { describe, expect, test } from "bun:test";
import type { PerFamily } from "../../../src/addr/family.ts";
import type { IpAddress } from "../../../src/addr/ip.ts";
import { PublicAddressPublisher } from "../../../src/daemon/public_address_publisher.ts";
import type { LeaseAttributes } from "../../../src/subnet/lease.ts";
import { StoreError } from "../../../src/subnet/lease_store.ts";
import { collectingLog } from "../../support/collecting_log.ts";
import { FakeClock, settle } from "../../support/fake_clock.ts";
import { ip } from "../../support/sample_network.ts";

/** A store that refuses as often as a test says, and the publisher that writes to it. */
function setUp() {
  const clock = new FakeClock(() => 0);
  const { log, records } = collectingLog();
  const store = { refusals: 0, updates: [] as string[] };
  const update = ({ backendType, publicAddresses }: LeaseAttributes): Promise<void> => {
    store.updates.push(`${backendType} ${publicAddresses[4]}`);
    if (store.refusals-- <= 0) return Promise.resolve();
    return Promise.reject(new StoreError("no connection"));
  };
  const published = at("192.0.2.1");
  const attributes = { publicAddresses: published, backendType: "vxlan", backendData: {} };
  const own = { update };
  const publisher = new PublicAddressPublisher({ own, attributes, published, clock, log });
  return { clock, store, publisher, messages: () => records.map(({ msg }) => msg) };
}

function at(address: string): PerFamily<IpAddress> {
  return { 4: ip(address) };
}

describe("a node with another public address", () => {
  test("publishes it at once, and only once", async () => {
    const { store, publisher, messages } = setUp();
    publisher.publish(at("192.0.2.1"));
    publisher.publish(at("192.0.2.2"));
    await settle();
    publisher.publish(at("192.0.2.2"));
    await settle();
    expect(store.updates).toEqual(["vxlan 192.0.2.2"]);
    expect(messages()).toEqual(["published the public address 192.0.2.2"]);
  });

  test("retries while the store does not respond, and logs that once", async () => {
    const { clock, store, publisher, messages } = setUp();
    store.refusals = 3;
    publisher.publish(at("192.0.2.2"));
    await clock.advance(1000);
    expect(store.updates).toHaveLength(2); // at 0 and 500 ms; the next at 1500
    const problem = "cannot publish the public address 192.0.2.2: no connection";
    expect(publisher.problem).toBe(problem);
    await clock.advance(10_000);
    expect(store.updates).toHaveLength(4);
    expect(publisher.problem).toBeUndefined();
    expect(messages()).toEqual([
      `${problem}; retrying`,
      "published the public address 192.0.2.2",
    ]);
  });

  test("publishes the newest address, even the first one after a failed attempt", async () => {
    const { clock, store, publisher } = setUp();
    store.refusals = 1;
    publisher.publish(at("192.0.2.2"));
    await settle();
    publisher.publish(at("192.0.2.1"));
    await clock.advance(1000);
    expect(store.updates).toEqual(["vxlan 192.0.2.2", "vxlan 192.0.2.1"]);
    expect(publisher.problem).toBeUndefined();
  });

  test("publishes one change at a time", async () => {
    const { clock, store, publisher } = setUp();
    store.refusals = 1;
    for (const last of [2, 3, 4]) publisher.publish(at(`192.0.2.${last}`));
    await clock.advance(1000);
    expect(store.updates).toEqual(["vxlan 192.0.2.2", "vxlan 192.0.2.4"]);
  });

  test("does not retry after its end", async () => {
    const { clock, store, publisher } = setUp();
    store.refusals = Infinity;
    publisher.publish(at("192.0.2.2"));
    await settle();
    publisher[Symbol.dispose]();
    await clock.advance(60_000);
    expect(store.updates).toHaveLength(1);
  });

  test("gives an attempt up after 30 s, and retries", async () => {
    const clock = new FakeClock(() => 0);
    const { log, records } = collectingLog();
    let attempts = 0;
    const update = (_attributes: LeaseAttributes, signal: AbortSignal): Promise<void> => {
      attempts++;
      return new Promise((_, reject) => {
        signal.addEventListener("abort", () => reject(signal.reason as Error));
      });
    };
    const published = at("192.0.2.1");
    const attributes = { publicAddresses: published, backendType: "vxlan", backendData: {} };
    using publisher = new PublicAddressPublisher(
      { own: { update }, attributes, published, clock, log },
    );
    publisher.publish(at("192.0.2.2"));
    await clock.advance(31_000);
    expect(attempts).toBe(2);
    expect(records.map(({ msg }) => msg)).toEqual([
      "cannot publish the public address 192.0.2.2: no response within 30 s; retrying",
    ]);
  });
});
