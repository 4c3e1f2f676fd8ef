import { describe, expect, test } from "bun:test";
import type { PerFamily } from "../../../src/addr/family.ts";
import type { GivenAddress } from "../../../src/addr/given_address.ts";
import type { Family, IpAddress } from "../../../src/addr/ip.ts";
import type { Prefix } from "../../../src/addr/prefix.ts";
import { givenAddresses } from "../../../src/cli/daemon_options.ts";
import type { HostAddress, HostInterface } from "../../../src/host/host_interface.ts";
import { compileInterfacePattern } from "../../../src/host/interface_pattern.ts";
import {
  describeInterfaces,
  InterfaceSelectionError,
  selectInterface,
  type Selection,
  type SelectionInput,
  type SelectionOptions,
} from "../../../src/host/interface_selection.ts";
import { BACKENDS } from "../../../src/backend/backend_registry.ts";

const isOverlayDevice = (name: string) => BACKENDS.isDeviceName(name);

const ip = (text: string): IpAddress => text as IpAddress;

function flags({ 4: publicIp, 6: publicIpv6 }: PerFamily<IpAddress>): PerFamily<GivenAddress> {
  return givenAddresses({ publicIp, publicIpv6 });
}

function address(text: string, flags: Partial<HostAddress> = {}): HostAddress {
  const prefixLength = text.includes(":") ? 64 : 24;
  const plain = { isPermanent: true, isTemporary: false, isDeprecated: false };
  return { address: ip(text), prefixLength, ...plain, ...flags };
}

function device(
  name: string,
  addresses: (string | HostAddress)[],
  more: Partial<HostInterface> = {},
): HostInterface {
  const list = addresses.map((one) => typeof one === "string" ? address(one) : one);
  return { name, ifindex: 2, mtuBytes: 1500, isUp: true, addresses: list, ...more };
}

/** A Vagrant machine: NAT on eth0, the cluster's network on eth1. */
const HOST: SelectionInput = {
  interfaces: [
    device("lo", ["127.0.0.1", "::1"], { mtuBytes: 65_536 }),
    device("eth0", ["10.0.2.15", "fe80::1"]),
    device("eth1", ["192.168.56.11", "192.168.56.99", "fd00::11", "fe80::2"], { mtuBytes: 9000 }),
    device("docker0", ["172.17.0.1"], { isUp: false }),
  ],
  defaultRoutes: { 4: "eth0", 6: "eth1" },
};

function select(
  options: Partial<SelectionOptions> = {},
  input: Partial<SelectionInput> = {},
): Selection {
  return selectInterface({ ...HOST, ...input }, {
    families: [4],
    interfaces: [],
    patterns: [],
    canReach: undefined,
    given: {},
    isOverlayDevice,
    ...options,
  });
}

/** `eth0 10.0.2.15`, with `> public` where that differs. */
function chosen(options: Partial<SelectionOptions>, input: Partial<SelectionInput> = {}): string {
  const { name, addresses, publicAddresses } = select(options, input).external;
  const own = Object.values(addresses).join(" ");
  const advertised = Object.values(publicAddresses).join(" ");
  return `${name} ${own}${own === advertised ? "" : ` > ${advertised}`}`;
}

function refusal(options: Partial<SelectionOptions>, input: Partial<SelectionInput> = {}): string {
  try {
    select(options, input);
  } catch (error) {
    expect(error).toBeInstanceOf(InterfaceSelectionError);
    return (error as Error).message;
  }
  throw new Error("an interface was chosen");
}

const V6: Family[] = [6];
const DUAL: Family[] = [4, 6];

describe("without options", () => {
  test("the default route decides, for the network's family", () => {
    expect(chosen({})).toBe("eth0 10.0.2.15");
    expect(chosen({ families: V6 })).toBe("eth1 fd00::11");
  });

  test("both families' default routes must agree in dual stack", () => {
    expect(refusal({ families: DUAL })).toBe(
      "cannot choose an external interface (default route: the IPv4 route uses eth0, the IPv6 " +
        "route eth1); this host has eth0 (10.0.2.15, fe80::1), eth1 (192.168.56.11, " +
        "192.168.56.99, fd00::11, fe80::2), docker0 (172.17.0.1); choose one with --iface",
    );
    expect(chosen({ families: DUAL }, { defaultRoutes: { 4: "eth1", 6: "eth1" } }))
      .toBe("eth1 192.168.56.11 fd00::11");
  });

  test("a missing default route is named", () => {
    expect(refusal({}, { defaultRoutes: {} })).toContain("this host has no default IPv4 route");
    expect(refusal({ families: DUAL }, { defaultRoutes: { 4: "eth0" } }))
      .toContain("this host has no default IPv6 route");
  });

  test("the interface that holds --public-ip comes before the default route's", () => {
    expect(chosen({ given: flags({ 4: ip("192.168.56.99") }) })).toBe("eth1 192.168.56.99");
    expect(chosen({ given: flags({ 4: ip("203.0.113.5") }) })).toBe(
      "eth0 10.0.2.15 > 203.0.113.5",
    );
  });

  test("an interface with MTU 0 is an error", () => {
    expect(refusal({}, { interfaces: [device("eth0", ["10.0.2.15"], { mtuBytes: 0 })] }))
      .toContain("default route: interface eth0 has MTU 0");
  });
});

describe("--iface", () => {
  test("takes a name or an address, the first that fits", () => {
    expect(chosen({ interfaces: ["eth9", "eth1"] })).toBe("eth1 192.168.56.11");
    expect(chosen({ interfaces: ["10.9.9.9", "192.168.56.99"] })).toBe("eth1 192.168.56.99");
  });

  test("takes what `ip link` and `ip address` print", () => {
    const [lo, eth0, eth1, docker0] = HOST.interfaces as [
      HostInterface,
      HostInterface,
      HostInterface,
      HostInterface,
    ];
    const addresses = eth1.addresses.map((one) =>
      one.address === "192.168.56.99" ? { ...one, label: "eth1:7" } : one
    );
    const interfaces = [lo, eth0, { ...eth1, altNames: ["enp0s8", "lan"], addresses }, docker0];
    const choice = (text: string) => chosen({ interfaces: [text] }, { interfaces });
    for (const text of ["eth1@if5", "eth1:", "eth1@if5:", "enp0s8", "lan"]) {
      expect(choice(text)).toBe("eth1 192.168.56.11");
    }
    for (const text of ["eth1:7", "192.168.56.99/24"]) {
      expect(choice(text)).toBe("eth1 192.168.56.99");
    }
    const ipv6 = (text: string) => chosen({ interfaces: [text], families: V6 }, { interfaces });
    for (const text of ["fd00::11/64", "[fd00::11]"]) expect(ipv6(text)).toBe("eth1 fd00::11");
    expect(ipv6("fe80::2%eth1")).toBe("eth1 fe80::2");
    const why = (text: string) => refusal({ interfaces: [text] }, { interfaces });
    expect(why("eth0:1")).toContain("--iface=eth0:1: no such interface; did you mean eth0?");
    expect(why("docker")).toContain("--iface=docker: no such interface; did you mean docker0?");
    expect(why("eth9")).toContain("--iface=eth9: no such interface);");
    expect(why("192.168.56.0/24")).toContain(
      "no interface has this address; did you mean 192.168.56.11, which eth1 has?",
    );
  });

  test("given an address of one family, takes the best of the other", () => {
    expect(chosen({ interfaces: ["192.168.56.99"], families: DUAL }))
      .toBe("eth1 192.168.56.99 fd00::11");
    expect(chosen({ interfaces: ["fe80::2"], families: DUAL })).toBe("eth1 192.168.56.11 fe80::2");
  });

  test("an interface without an address of the family is skipped with a log line", () => {
    const selection = select({ interfaces: ["docker0", "eth1"], families: V6 });
    expect(selection.reasons).toEqual([
      "skipped --iface=docker0: interface docker0 has no usable IPv6 address",
      "using interface eth1 (--iface=eth1), MTU 9000",
      "IPv6 address fd00::11, advertised to the other nodes",
    ]);
  });

  test("never falls back to the default route", () => {
    expect(refusal({ interfaces: ["eth9"] })).toStartWith(
      "cannot choose an external interface (--iface=eth9: no such interface); " +
        "this host has eth0 (10.0.2.15, fe80::1), ",
    );
  });

  test("a loopback address is refused, as no other node could reach it", () => {
    expect(refusal({ interfaces: ["127.0.0.1"] })).toContain("it is a loopback address");
    expect(refusal({ interfaces: ["lo"] })).toContain("interface lo has no usable IPv4 address");
  });

  test("an interface that is down is taken with a warning", () => {
    expect(select({ interfaces: ["docker0"] }).reasons)
      .toContain("interface docker0 is down; no packets will pass until it is up");
  });
});

describe("--iface-regex", () => {
  test("matches addresses first, then names", () => {
    expect(chosen({ patterns: ["^192\\.168\\."] })).toBe("eth1 192.168.56.11");
    expect(chosen({ patterns: ["99$"] })).toBe("eth1 192.168.56.99");
    expect(chosen({ patterns: ["^eth[1-9]$"] })).toBe("eth1 192.168.56.11");
  });

  test("is tried after every --iface, in order", () => {
    expect(chosen({ interfaces: ["eth0"], patterns: ["^eth1$"] })).toBe("eth0 10.0.2.15");
    expect(chosen({ interfaces: ["eth9"], patterns: ["nothing", "docker"] }))
      .toBe("docker0 172.17.0.1");
  });

  test("in dual stack prefers the interface where both families match", () => {
    const input = {
      interfaces: [device("a", ["10.1.0.1", "fd00::1"]), device("b", ["10.1.0.2", "fd10::2"])],
    };
    expect(chosen({ patterns: ["^(10\\.1|fd10:)"], families: DUAL }, input))
      .toBe("b 10.1.0.2 fd10::2");
    expect(chosen({ patterns: ["^10\\.1"], families: DUAL }, input)).toBe("a 10.1.0.1 fd00::1");
  });

  test("never matches an address of a family the network lacks", () => {
    expect(refusal({ patterns: ["^fd00"] })).toContain(
      "no interface has a matching address or name",
    );
  });
});

describe("--iface-can-reach", () => {
  const canReach = ip("192.168.56.1");

  test("takes interface and source from the route", () => {
    const routeToTarget = { link: "eth1", source: ip("192.168.56.99") };
    expect(chosen({ canReach }, { routeToTarget })).toBe("eth1 192.168.56.99");
    expect(chosen({ canReach, patterns: ["docker"] }, { routeToTarget })).toBe(
      "docker0 172.17.0.1",
    );
  });

  test("a missing route is named", () => {
    expect(refusal({ canReach })).toContain(
      "--iface-can-reach=192.168.56.1: no route to this address",
    );
  });
});

describe("addresses", () => {
  test("are ranked: global, permanent, stable; deprecated ones are left out", () => {
    const flags = (name: string, ...rest: [string, Partial<HostAddress>?][]): string =>
      chosen({ families: V6, interfaces: [name] }, {
        interfaces: [device(name, rest.map(([text, flag]) => address(text, flag)))],
      });
    expect(flags("x", ["fe80::1"], ["fd00::1", { isPermanent: false, isTemporary: true }]))
      .toBe("x fd00::1");
    expect(flags("x", ["fd00::1", { isPermanent: false }], ["fd00::2"])).toBe("x fd00::2");
    expect(flags("x", ["fd00::1", { isPermanent: false, isTemporary: true }], ["fd00::2", {
      isPermanent: false,
    }])).toBe("x fd00::2");
    expect(flags("x", ["fd00::1", { isDeprecated: true }], ["fe80::2"])).toBe("x fe80::2");
    expect(flags("x", ["fd00::9"], ["fd00::1"])).toBe("x fd00::9");
  });

  test("a virtual address comes after the host's own, whatever the kernel's order", () => {
    const best = (families: Family[], ...addresses: HostAddress[]) =>
      chosen({ families, interfaces: ["x"] }, { interfaces: [device("x", addresses)] });
    const virtual = { prefixLength: 32 };
    const dynamic = { isPermanent: false, isTemporary: true };
    const vip = address("10.0.0.100", virtual);
    expect(best([4], vip, address("10.0.0.5"))).toBe("x 10.0.0.5");
    expect(best([4], vip, address("10.0.0.5", dynamic))).toBe("x 10.0.0.5");
    expect(best(V6, address("fd00::100", { prefixLength: 128 }), address("fd00::5", dynamic)))
      .toBe("x fd00::5");
    // The only global address: on a cloud's host, or next to a link-local one.
    expect(best([4], vip, address("10.0.0.101", virtual))).toBe("x 10.0.0.100");
    expect(best([4], address("10.0.0.7", { ...virtual, isPermanent: false }))).toBe("x 10.0.0.7");
    expect(best(V6, address("fe80::1"), address("fd00::7", { prefixLength: 128 })))
      .toBe("x fd00::7");
    // DHCPv6 assigns a /128 next to the /64 of router advertisements.
    expect(
      best(
        V6,
        address("fd00::d", { prefixLength: 128, isPermanent: false }),
        address("fd00::a", {
          isPermanent: false,
        }),
      ),
    ).toBe("x fd00::d");
    const interfaces = [device("x", [vip, "10.0.0.5"])];
    expect(chosen({ interfaces: ["10.0.0.100"] }, { interfaces })).toBe("x 10.0.0.100");
  });

  test("a deprecated address is used when it is asked for", () => {
    const interfaces = [device("x", [address("10.0.0.1", { isDeprecated: true }), "10.0.0.2"])];
    expect(chosen({ interfaces: ["10.0.0.1"] }, { interfaces })).toBe("x 10.0.0.1");
  });

  test("public addresses replace the interface's for enabled families only", () => {
    const selection = select({
      interfaces: ["eth1"],
      given: flags({ 4: ip("203.0.113.5"), 6: ip("2001:db8::5") }),
    });
    expect(selection.external).toEqual({
      name: "eth1",
      ifindex: 2,
      mtuBytes: 9000,
      addresses: { 4: ip("192.168.56.11") },
      networks: { 4: "192.168.56.0/24" as Prefix },
      publicAddresses: { 4: ip("203.0.113.5") },
      sourceAddresses: { 4: ip("192.168.56.11") },
    });
    expect(selection.reasons.at(-1)).toBe(
      "IPv4 address 192.168.56.11, advertised to the other nodes as 203.0.113.5 " +
        "(--public-ip; this host does not have it: a router must translate it to this host)",
    );
  });

  test("a public address on lo names no interface, and packets come from it", () => {
    const [, ...others] = HOST.interfaces;
    const interfaces = [device("lo", ["127.0.0.1", "203.0.113.5"]), ...others];
    const { external } = select({ given: flags({ 4: ip("203.0.113.5") }) }, { interfaces });
    expect(external).toMatchObject({
      name: "eth0",
      addresses: { 4: "10.0.2.15" },
      publicAddresses: { 4: "203.0.113.5" },
      sourceAddresses: { 4: "203.0.113.5" },
    });
  });

  test("names the annotation by which an address was given", () => {
    const source = "the annotation flannel.alpha.coreos.com/node-public-ip";
    const given = { 4: { address: ip("192.168.56.99"), source } };
    expect(select({ given }).reasons).toEqual([
      `using interface eth1 (it has the address 192.168.56.99 of ${source}), MTU 9000`,
      `IPv4 address 192.168.56.99, advertised to the other nodes as 192.168.56.99 (${source})`,
    ]);
  });

  test("packets come from a public address that any interface has", () => {
    const { external, reasons } = select({
      interfaces: ["eth1"],
      given: flags({ 4: ip("172.17.0.1") }),
    });
    expect(external.addresses).toEqual({ 4: ip("192.168.56.11") });
    expect(external.sourceAddresses).toEqual({ 4: ip("172.17.0.1") });
    expect(reasons.at(-1)).toEndWith(
      "advertised to the other nodes as 172.17.0.1 (--public-ip)",
    );
  });
});

test("the candidates are listed without loopback, and with missing addresses", () => {
  expect(describeInterfaces([device("lo", ["127.0.0.1"]), device("eth2", [])], { isOverlayDevice }))
    .toBe("eth2 (no address)");
  expect(describeInterfaces([], { isOverlayDevice })).toBe("no interfaces");
});

test("the candidates are listed without the overlay's own devices and addresses", () => {
  const interfaces = [
    device("eth0", ["192.168.56.11", "10.5.9.9"]),
    device("flannel.1", ["10.5.7.0"]),
    device("docker0", ["10.5.7.1", "fe80::7"]),
    device("eth1", ["fe80::8"]),
  ];
  expect(describeInterfaces(interfaces, { networks: ["10.5.0.0/16" as Prefix], isOverlayDevice }))
    .toBe("eth0 (192.168.56.11), eth1 (fe80::8)");
  expect(() =>
    select({ interfaces: ["eth7"], networks: ["10.5.0.0/16" as Prefix] }, { interfaces })
  )
    .toThrow("this host has eth0 (192.168.56.11), eth1 (fe80::8); choose one with --iface");
});

describe("patterns", () => {
  const matches: [string, string, boolean][] = [
    ["(?i)ETH", "eth0", true],
    ["^(?P<kind>en|eth)[[:digit:]]+$", "eth12", true],
    ["\\Aeth\\d\\z", "eth1", true],
    ["\\Q10.0\\E", "10x0", false],
    ["\\Q10.0\\E", "10.0.2.15", true],
    ["10.0", "10x0", true],
    ["eth(0|1)", "eth2", false],
  ];
  for (const [source, text, expected] of matches) {
    test(`${source} ${expected ? "matches" : "does not match"} ${text}`, () => {
      const pattern = compileInterfacePattern(source);
      expect("test" in pattern && pattern.test(text)).toBe(expected);
    });
  }

  test("an invalid pattern has a problem", () => {
    expect(compileInterfacePattern("eth(")).toHaveProperty("problem");
    expect(compileInterfacePattern("*")).toHaveProperty("problem");
  });
});
