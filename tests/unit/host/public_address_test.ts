import { expect, test } from "bun:test";
import type { PerFamily } from "../../../src/addr/family.ts";
import type { GivenAddress } from "../../../src/addr/given_address.ts";
import type { IpAddress } from "../../../src/addr/ip.ts";
import { givenAddresses } from "../../../src/cli/daemon_options.ts";
import { externalInterface } from "../../../src/host/external_interface.ts";
import { publicAddressProblem, publicAddressWarnings } from "../../../src/host/public_address.ts";
import type { HostInterface } from "../../../src/host/host_interface.ts";
import { ip, NETWORKS } from "../../support/sample_network.ts";
import { BACKENDS } from "../../../src/backend/backend_registry.ts";

const isOverlayDevice = (name: string) => BACKENDS.isDeviceName(name);

function device(name: string, ...prefixes: string[]): HostInterface {
  const addresses = prefixes.map((text) => {
    const [address, length] = text.split("/");
    return {
      address: ip(address as string),
      prefixLength: Number(length),
      isPermanent: true,
      isTemporary: false,
      isDeprecated: false,
    };
  });
  return { name, ifindex: 2, mtuBytes: 1500, isUp: true, addresses };
}

const ETH0 = device("eth0", "192.168.1.10/24", "2001:db8:1::10/64");
const INTERFACES = [
  ETH0,
  device("eth1", "10.9.0.1/31", "169.254.7.7/16", "2001:db8:2::/64"),
];
const OWN = { 4: ip("192.168.1.10"), 6: ip("2001:db8:1::10") };

function problem(given: PerFamily<IpAddress>, own: PerFamily<IpAddress> = OWN): string | undefined {
  return problemOf(givenAddresses({ publicIp: given[4], publicIpv6: given[6] }), own);
}

function problemOf(given: PerFamily<GivenAddress>, own = OWN as PerFamily<IpAddress>) {
  const addressing = { interfaces: INTERFACES, given };
  const external = externalInterface(ETH0, own, addressing);
  return publicAddressProblem(external, { ...addressing, families: NETWORKS, isOverlayDevice });
}

test.each([
  ["0.0.0.0", "an unspecified address"],
  ["127.0.0.1", "a loopback address"],
  ["224.0.0.1", "a multicast address"],
  ["255.255.255.255", "a broadcast address"],
  ["169.254.1.1", "a link-local address that no interface here has"],
  ["192.168.1.0", "the network address of 192.168.1.0/24"],
  ["192.168.1.255", "the broadcast address of 192.168.1.0/24"],
  ["10.5.7.1", "inside the overlay network 10.5.0.0/16"],
  ["::", "an unspecified address"],
  ["::1", "a loopback address"],
  ["ff02::1", "a multicast address"],
  ["::ffff:192.0.2.1", "an IPv4-mapped address"],
  ["fe80::1", "a link-local address that no interface here has"],
  ["2001:db8:1::", "the Subnet-Router anycast address of 2001:db8:1::/64"],
  ["fc00:0:0:9::1", "inside the overlay network fc00::/48"],
])("%s is refused: the other nodes would ignore this one", (text, defect) => {
  const family = text.includes(":") ? 6 : 4;
  const flag = family === 4 ? "--public-ip" : "--public-ipv6";
  expect(problem({ [family]: ip(text) })).toBe(
    `${flag} ${ip(text)} is ${defect}: the other nodes cannot send ` +
      `to it; set ${flag} to the address by which they reach this host, or leave it out`,
  );
});

test("an annotation of the node is named where the address is written there", () => {
  const source = "the annotation flannel.alpha.coreos.com/node-public-ip";
  expect(problemOf({ 4: { address: ip("127.0.0.1"), source } })).toBe(
    `${source} 127.0.0.1 is a loopback address: the other nodes cannot send to it; set ${source} ` +
      "to the address by which they reach this host, or leave it out",
  );
});

test.each([
  "192.0.2.7",
  "10.9.0.0", // Of a network with two addresses, both are hosts'.
  "10.5.0.9", // In the network, but before SubnetMin: no node is given it.
  "169.254.7.7", // The host has it.
  "2001:db8:2::", // The host has it.
  "2001:db8:9::1",
])("%s is taken", (text) => {
  expect(problem({ [text.includes(":") ? 6 : 4]: ip(text) })).toBeUndefined();
});

test("a device of the overlay is named as such", () => {
  const addressing = { interfaces: INTERFACES, given: {} };
  const own = device("flannel.1", "10.5.7.1/32");
  const external = externalInterface(own, { 4: ip("10.5.7.1") }, addressing);
  expect(publicAddressProblem(external, { ...addressing, families: NETWORKS, isOverlayDevice }))
    .toBe(
      "flannel.1 is a device of the overlay itself (its address 10.5.7.1 is inside the overlay " +
        "network 10.5.0.0/16); name the interface that leads to the other hosts with --iface",
    );
});

test("an interface's own address is checked, too, and the line says what to do", () => {
  expect(problem({}, { 4: ip("192.168.1.255") })).toBe(
    "address 192.168.1.255 of interface eth0 is the broadcast address of 192.168.1.0/24: " +
      "the other nodes cannot send to it; choose another interface with --iface, or set another " +
      "address with --public-ip",
  );
  expect(problem({})).toBeUndefined();
});

test("a link-local address works on one link, with a warning", () => {
  const addressing = { interfaces: INTERFACES, given: {} };
  const external = externalInterface(ETH0, { 4: ip("169.254.7.7"), 6: OWN[6] }, addressing);
  expect(publicAddressWarnings(external)).toEqual([
    "the public address 169.254.7.7 is link-local: only nodes on the same link can send to it",
  ]);
});
