import { describe, expect, test } from "bun:test";
import type { IpAddress } from "../../../src/addr/ip.ts";
import type { Prefix } from "../../../src/addr/prefix.ts";
import type { ExternalInterface, HostAddressing } from "../../../src/host/external_interface.ts";
import { updatedInterface } from "../../../src/host/updated_interface.ts";
import type { HostInterface } from "../../../src/host/host_interface.ts";

const ip = (text: string) => text as IpAddress;

const current: ExternalInterface = {
  name: "eth0",
  ifindex: 2,
  mtuBytes: 1500,
  addresses: { 4: ip("192.0.2.1") },
  networks: { 4: "192.0.2.0/24" as Prefix },
  publicAddresses: { 4: ip("192.0.2.1") },
  sourceAddresses: { 4: ip("192.0.2.1") },
};

function host(
  { name = "eth0", ifindex = 2, mtuBytes = 1500, addresses = ["192.0.2.1"] }: {
    name?: string;
    ifindex?: number;
    mtuBytes?: number;
    addresses?: string[];
  },
): HostAddressing {
  return {
    given: {},
    interfaces: [{
      name,
      ifindex,
      mtuBytes,
      isUp: true,
      addresses: addresses.map((text) => {
        const [address = "", length = 24] = text.split("/");
        return {
          address: ip(address),
          prefixLength: Number(length),
          isPermanent: true,
          isTemporary: false,
          isDeprecated: false,
        };
      }),
    }],
  };
}

describe("updatedInterface", () => {
  test("gives the same interface when nothing changed", () => {
    expect(updatedInterface(current, host({}))).toEqual(current);
  });

  test("has the new MTU", () => {
    expect(updatedInterface(current, host({ mtuBytes: 9000 }))).toEqual({
      ...current,
      mtuBytes: 9000,
    });
  });

  test("does not move to a virtual address when the host's own is missing", () => {
    expect(updatedInterface(current, host({ addresses: ["192.0.2.100/32"] }))).toBe(
      "interface eth0 has lost its IPv4 address 192.0.2.1; its remaining address 192.0.2.100 is " +
        "a virtual address",
    );
    const back = updatedInterface(current, host({ addresses: ["192.0.2.100/32", "192.0.2.7"] }));
    expect(back).toMatchObject({ addresses: { 4: "192.0.2.7" } });
    // One that never had a network may get another such address.
    const single = { ...current, networks: { 4: "192.0.2.1/32" as Prefix } };
    expect(updatedInterface(single, host({ addresses: ["192.0.2.9/32"] })))
      .toMatchObject({ addresses: { 4: "192.0.2.9" } });
  });

  test("keeps an address that is still there, whatever was added before it", () => {
    const addressing = host({ addresses: ["192.0.2.9", "192.0.2.1"] });
    expect(updatedInterface(current, addressing)).toEqual(current);
  });

  test("keeps a deprecated address, which --iface may have named", () => {
    const [device] = host({ addresses: ["192.0.2.9", "192.0.2.1"] }).interfaces as [HostInterface];
    const addresses = device.addresses.map((one) => ({
      ...one,
      isDeprecated: one.address === "192.0.2.1",
    }));
    const addressing = { interfaces: [{ ...device, addresses }], given: {} };
    expect(updatedInterface(current, addressing)).toEqual(current);
  });

  test("advertises the address that replaces a lost one", () => {
    expect(updatedInterface(current, host({ addresses: ["192.0.2.7"] }))).toMatchObject({
      addresses: { 4: "192.0.2.7" },
      publicAddresses: { 4: "192.0.2.7" },
    });
  });

  test("still advertises a configured address, even one that the host has lost", () => {
    for (const given of [ip("203.0.113.5"), ip("192.0.2.1")]) {
      const before = { ...current, publicAddresses: { 4: given } };
      const addressing = {
        ...host({ addresses: ["192.0.2.7"] }),
        given: { 4: { address: given, source: "--public-ip" } },
      };
      expect(updatedInterface(before, addressing)).toMatchObject({
        addresses: { 4: "192.0.2.7" },
        publicAddresses: { 4: given },
        sourceAddresses: { 4: "192.0.2.7" },
      });
    }
  });

  test("sends from the configured address as long as any interface of the host has it", () => {
    const given = ip("203.0.113.5");
    const { interfaces } = host({});
    const lo = {
      ...host({ name: "lo", ifindex: 1, addresses: [given] }).interfaces[0] as HostInterface,
    };
    const holding = {
      interfaces: [lo, ...interfaces],
      given: { 4: { address: given, source: "--public-ip" } },
    };
    const next = updatedInterface({ ...current, publicAddresses: { 4: given } }, holding);
    expect(next).toMatchObject({ addresses: current.addresses, sourceAddresses: { 4: given } });
    expect(
      updatedInterface(next as ExternalInterface, {
        interfaces,
        given: { 4: { address: given, source: "--public-ip" } },
      }),
    )
      .toMatchObject({ publicAddresses: { 4: given }, sourceAddresses: current.addresses });
  });

  test("follows the interface to another name, and to one created again under its name", () => {
    expect(updatedInterface(current, host({ name: "lan0" }))).toEqual({ ...current, name: "lan0" });
    expect(updatedInterface(current, host({ ifindex: 9 }))).toEqual({ ...current, ifindex: 9 });
    // As where a bridge takes the name and the addresses of its first port.
    const port = host({ name: "eth0-port", addresses: [] }).interfaces;
    const bridge = host({ ifindex: 9 }).interfaces;
    expect(updatedInterface(current, { given: {}, interfaces: [...port, ...bridge] }))
      .toEqual({ ...current, ifindex: 9 });
  });

  test("says why the interface cannot be used", () => {
    expect(updatedInterface(current, host({ name: "eth1", ifindex: 3 })))
      .toBe("interface eth0 is gone");
    expect(updatedInterface(current, host({ mtuBytes: 0 }))).toBe("interface eth0 has MTU 0");
    expect(updatedInterface(current, host({ addresses: [] }))).toBe(
      "interface eth0 has lost its IPv4 address 192.0.2.1",
    );
  });
});
