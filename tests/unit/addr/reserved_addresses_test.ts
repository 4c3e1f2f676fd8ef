import { expect, test } from "bun:test";
import { reservedAddresses } from "../../../src/addr/reserved_addresses.ts";
import { ip, prefix } from "../../support/sample_network.ts";

test("reservedAddresses() are the first and the last of an IPv4 network, up to a /30", () => {
  expect([...reservedAddresses([prefix("192.168.0.0/24")])]).toEqual([
    [ip("192.168.0.0"), "the network address of 192.168.0.0/24"],
    [ip("192.168.0.255"), "the broadcast address of 192.168.0.0/24"],
  ]);
  expect([...reservedAddresses([prefix("192.168.0.4/30")]).keys()]).toEqual([
    ip("192.168.0.4"),
    ip("192.168.0.7"),
  ]);
});

test("reservedAddresses() is the first of an IPv6 network, up to a /126", () => {
  for (const network of ["fd00::/64", "fd00::/126"]) {
    expect([...reservedAddresses([prefix(network)])]).toEqual([
      [ip("fd00::"), `the Subnet-Router anycast address of ${network}`],
    ]);
  }
});

test("reservedAddresses() are none in a network of one or two addresses", () => {
  for (const network of ["192.168.0.4/31", "192.168.0.4/32", "fd00::/127", "fd00::1/128"]) {
    expect([...reservedAddresses([prefix(network)])]).toEqual([]);
  }
});
