import { describe, expect, test } from "bun:test";
import type { PerFamily } from "../../../src/addr/family.ts";
import type { IpAddress } from "../../../src/addr/ip.ts";
import type { ExcludedAddress } from "../../../src/addr/excluded_address.ts";
import { parseNetworkConfig } from "../../../src/config/network_config.ts";
import { externalInterface } from "../../../src/host/external_interface.ts";
import type { HostDependencies } from "../../../src/host/host_dependencies.ts";
import type { HostInterface } from "../../../src/host/host_interface.ts";
import {
  excludedAddresses,
  networkProblem,
  networkRouteProblem,
  networkWarnings,
} from "../../../src/host/network_overlap.ts";
import { ip, prefix } from "../../support/sample_network.ts";
import { BACKENDS } from "../../../src/backend/backend_registry.ts";

const isOverlayDevice = (name: string) => BACKENDS.isDeviceName(name);

function families(value: object) {
  return parseNetworkConfig(JSON.stringify(value), { source: "test", warn: () => {} }).families;
}

function device(name: string, ...prefixes: string[]): HostInterface {
  const addresses = prefixes.map((text) => {
    const [address, length] = text.split("/");
    const flags = { isPermanent: true, isTemporary: false, isDeprecated: false };
    return { address: ip(address as string), prefixLength: Number(length), ...flags };
  });
  return { name, ifindex: 2, mtuBytes: 1500, isUp: true, addresses };
}

function excluded(address: string, what = "the gateway of this host"): ExcludedAddress {
  return { address: ip(address), what };
}

const NONE: HostDependencies = { gateways: [], resolvers: [], endpoints: [] };

describe("a network that covers the external interface's own", () => {
  function problem(network: object, own: string): string | undefined {
    const eth0 = device("eth0", own);
    const address = own.split("/")[0] as string;
    const addresses: PerFamily<IpAddress> = { [own.includes(":") ? 6 : 4]: ip(address) };
    const addressing = { interfaces: [eth0], given: {} };
    return networkProblem(families(network), externalInterface(eth0, addresses, addressing));
  }
  const IPV6 = { EnableIPv4: false, EnableIPv6: true };

  test("is refused with the address, the network and what to do", () => {
    expect(problem({ Network: "192.168.77.0/24", SubnetLen: 28 }, "192.168.77.5/24")).toBe(
      "Network 192.168.77.0/24 covers 192.168.77.0/24, the network of interface eth0, by which " +
        "this host (192.168.77.5) and the other nodes reach each other: a node's subnet could " +
        "contain the address of a host. Choose a network that nothing else uses, or set " +
        "SubnetMin and SubnetMax so that they exclude 192.168.77.0/24",
    );
  });

  test.each<[object, string]>([
    [{ Network: "10.0.0.0/8" }, "10.1.2.3/16"],
    [{ Network: "192.168.77.0/24" }, "192.168.77.5/16"],
    [{ Network: "10.0.0.0/8" }, "10.128.0.2/32"],
    [{ ...IPV6, IPv6Network: "fd00::/48" }, "fd00:0:0:7::1/64"],
  ])("%p on a host with %p is refused", (network, own) => {
    expect(problem(network, own)).toContain(`the network of interface eth0`);
  });

  test.each<[object, string]>([
    [{ Network: "10.5.0.0/16" }, "192.168.77.5/24"],
    // The host's network is the larger one.
    [{ Network: "10.5.0.0/16" }, "10.1.2.3/8"],
    // No node is given a subnet there.
    [{ Network: "10.0.0.0/8", SubnetMin: "10.10.0.0", SubnetMax: "10.99.0.0" }, "10.1.2.3/16"],
    [{ ...IPV6, IPv6Network: "fd00::/48" }, "fd00:0:0:0::1/64"],
  ])("%p on a host with %p is not", (network, own) => {
    expect(problem(network, own)).toBeUndefined();
  });
});

describe("what else the network covers", () => {
  const DUAL = families({ Network: "10.5.0.0/16", EnableIPv6: true, IPv6Network: "fc00::/48" });

  test("is logged once, except the overlay's own addresses on this host", () => {
    const interfaces = [
      device("lo", "127.0.0.1/8", "10.5.6.7/32"),
      device("eth0", "192.168.0.1/24"),
      device("eth1", "10.5.9.2/24", "10.5.9.3/24", "fc00:0:0:9::1/64"),
      device("flannel.1", "10.5.77.0/32"),
      device("cni0", "10.5.1.1/24", "fc00:0:0:1::1/64"),
    ];
    const ownSubnets = [prefix("10.5.1.0/24"), prefix("fc00:0:0:1::/64")];
    const result = "a host there becomes unreachable if its address is in a node's subnet; " +
      "choose a network that nothing else uses";
    expect(networkWarnings(DUAL, { isOverlayDevice, interfaces, ownSubnets, dependencies: NONE }))
      .toEqual([
        `Network 10.5.0.0/16 overlaps 10.5.9.0/24, the network of interface eth1: ${result}`,
        `IPv6Network fc00::/48 overlaps fc00:0:0:9::/64, the network of interface eth1: ${result}`,
      ]);
    // A bridge of a former subnet is in the way of the node that has it now.
    expect(
      networkWarnings(DUAL, {
        isOverlayDevice,
        interfaces: [device("cni0", "10.5.1.1/24")],
        ownSubnets: [prefix("10.5.2.0/24")],
        dependencies: NONE,
      }),
    ).toHaveLength(1);
  });

  test("is reported as excluded by SubnetMin and SubnetMax", () => {
    const network = families({ Network: "10.0.0.0/8", SubnetMin: "10.10.0.0" });
    const interfaces = [device("eth0", "10.1.2.3/24")];
    expect(
      networkWarnings(network, { isOverlayDevice, interfaces, ownSubnets: [], dependencies: NONE }),
    ).toEqual([
      "Network 10.0.0.0/8 overlaps 10.1.2.0/24, the network of interface eth0: only SubnetMin " +
      "and SubnetMax keep the nodes' subnets out of it",
    ]);
  });

  test("is logged if it is a gateway, a name server or the store", () => {
    const dependencies = {
      gateways: [excluded("10.5.0.1"), excluded("192.168.0.254")],
      resolvers: [excluded("fc00:0:0:3::53", "a name server of /etc/resolv.conf")],
      endpoints: [excluded("10.5.7.9", "https://etcd.example:2379")],
    };
    const result =
      "this node takes no subnet that contains it and ignores other nodes' leases that do; " +
      "choose a network that nothing else uses";
    expect(networkWarnings(DUAL, { isOverlayDevice, interfaces: [], ownSubnets: [], dependencies }))
      .toEqual([
        `Network 10.5.0.0/16 covers 10.5.0.1, the gateway of this host: ${result}`,
        `Network 10.5.0.0/16 covers 10.5.7.9, https://etcd.example:2379: ${result}`,
        `IPv6Network fc00::/48 covers fc00:0:0:3::53, a name server of /etc/resolv.conf: ${result}`,
      ]);
  });

  test("is excluded, with this node's own addresses, each once", () => {
    const eth0 = device("eth0", "10.5.0.9/24", "fd00::1/64");
    const external = externalInterface(eth0, { 4: ip("10.5.0.9"), 6: ip("fd00::1") }, {
      interfaces: [eth0],
      given: { 4: { address: ip("10.5.0.10"), source: "--public-ip" } },
    });
    const dependencies = {
      gateways: [excluded("10.5.0.1"), excluded("192.168.0.254")],
      // Of a workload, or of the bridge: in this node's own subnet.
      resolvers: [excluded("10.5.1.53", "a name server"), excluded("10.5.0.1", "a name server")],
      endpoints: [excluded("fd00::7", "the store")],
    };
    const ownSubnets = [prefix("10.5.1.0/24")];
    expect(excludedAddresses(DUAL, { external, ownSubnets, dependencies })).toEqual([
      excluded("10.5.0.9", "this node's own address"),
      excluded("10.5.0.10", "this node's own address"),
      excluded("10.5.0.1"),
    ]);
  });
});

describe("a backend that routes the whole network into its device", () => {
  const DUAL = families({ Network: "10.5.0.0/16", EnableIPv6: true, IPv6Network: "fc00::/48" });
  const problem = (address: string, destinations: string[]) =>
    networkRouteProblem(DUAL, {
      interfaces: [device("eth0", "192.168.0.1/24", "10.5.3.3/32")],
      routes: destinations.map((text) => ({
        kind: "route",
        type: "unicast",
        destination: prefix(text),
        link: "eth0",
        onlink: false,
        scope: "universe",
        metric: 0,
        protocol: 4,
        table: 254,
      })),
      dependencies: {
        gateways: [excluded("192.168.0.254")],
        resolvers: [excluded("10.5.9.53", "a name server")],
        endpoints: [excluded(address, "the address of https://etcd.example:2379")],
      },
    });

  test("is refused where it would take the packets to the store", () => {
    expect(problem("10.5.7.9", ["0.0.0.0/0", "10.5.0.0/16", "10.5.8.0/24"])).toBe(
      "Network 10.5.0.0/16 covers 10.5.7.9, the address of https://etcd.example:2379, and this " +
        "backend routes the whole network into its device: this host would be cut off. Choose a " +
        "network that nothing else uses, or give this host a route to 10.5.7.9 alone",
    );
    expect(problem("fc00::7", ["::/0"])).toContain("IPv6Network fc00::/48 covers fc00::7");
  });

  test("is not where a route of the host is more specific, or the address is its own", () => {
    expect(problem("10.5.7.9", ["0.0.0.0/0", "10.5.7.0/24"])).toBeUndefined();
    expect(problem("fc00::7", ["fc00::/64"])).toBeUndefined();
    expect(problem("10.5.3.3", [])).toBeUndefined();
    expect(problem("192.0.2.9", [])).toBeUndefined();
  });
});
