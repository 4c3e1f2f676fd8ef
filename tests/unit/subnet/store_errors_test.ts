import { describe, expect, test } from "bun:test";
import type { IpAddress } from "../../../src/addr/ip.ts";
import type { LeaseKey } from "../../../src/subnet/lease.ts";
import {
  DuplicateNodeError,
  OutOfSubnetsError,
} from "../../../src/subnet/etcd/allocation_errors.ts";
import { StoreError } from "../../../src/subnet/lease_store.ts";

describe("the errors of a store", () => {
  const publicAddress = "192.0.2.1" as IpAddress;
  const holder = { hostname: "host-b", interface: "eth0" };
  const outOfSubnets = new OutOfSubnetsError("x", { leases: 7 });
  const duplicate = new DuplicateNodeError("x", { publicAddress, holder });

  test("carry what they know", () => {
    expect(outOfSubnets.leases).toBe(7);
    expect(duplicate).toMatchObject({ publicAddress, holder, lease: undefined });
    const lease = "10.5.7.0-24" as LeaseKey;
    expect(new DuplicateNodeError("x", { publicAddress, holder, lease }).lease).toBe(lease);
    for (const error of [outOfSubnets, duplicate]) expect(error).toBeInstanceOf(StoreError);
  });

  test("have names of their own in a log", () => {
    const errors = [new StoreError("x"), outOfSubnets, duplicate];
    expect(errors.map(String)).toEqual([
      "StoreError: x",
      "OutOfSubnetsError: x",
      "DuplicateNodeError: x",
    ]);
  });
});
