import { describe, expect, test } from "bun:test";
import { ConfigError } from "../../../src/config/config_error.ts";
import {
  type FamilyNetwork,
  type NetworkConfig,
  overlapsAssignableRange,
  parseNetworkConfig,
} from "../../../src/config/network_config.ts";
import { prefix } from "../../support/sample_network.ts";

const SOURCE = "/coreos.com/network/config";

function parse(
  value: unknown,
  allocation: "flanneld" | "kubernetes" = "flanneld",
): { config: NetworkConfig; warnings: string[] } {
  const warnings: string[] = [];
  const text = typeof value === "string" ? value : JSON.stringify(value);
  const config = parseNetworkConfig(text, {
    source: SOURCE,
    warn: (line) => warnings.push(line),
    allocation,
  });
  return { config, warnings };
}

describe("parseNetworkConfig", () => {
  test("needs only a Network; the default is vxlan over IPv4 without the first subnet", () => {
    const { config, warnings } = parse({ Network: "10.5.0.0/16" });
    expect(config as unknown).toEqual({
      families: {
        4: {
          network: "10.5.0.0/16",
          subnetLength: 24,
          subnetMin: "10.5.1.0",
          subnetMax: "10.5.255.0",
        },
      },
      enableNftables: false,
      backend: { type: "vxlan", options: {} },
    });
    expect(warnings).toEqual([]);
  });

  test("reads dual stack and every key", () => {
    const { config } = parse({
      EnableIPv6: true,
      EnableNFTables: true,
      Network: "10.0.0.0/8",
      SubnetLen: 20,
      SubnetMin: "10.10.0.0",
      SubnetMax: "10.99.0.0",
      IPv6Network: "2001:cafe:42::/56",
      IPv6SubnetLen: 64,
      IPv6SubnetMin: "2001:cafe:42:10::",
      IPv6SubnetMax: "2001:cafe:42:20::",
      Backend: { Type: "VXLAN", VNI: 7, directrouting: true },
    });
    expect(config as unknown).toEqual({
      families: {
        4: {
          network: "10.0.0.0/8",
          subnetLength: 20,
          subnetMin: "10.10.0.0",
          subnetMax: "10.99.0.0",
        },
        6: {
          network: "2001:cafe:42::/56",
          subnetLength: 64,
          subnetMin: "2001:cafe:42:10::",
          subnetMax: "2001:cafe:42:20::",
        },
      },
      enableNftables: true,
      backend: { type: "vxlan", options: { VNI: 7, directrouting: true } },
    });
  });

  test("reads an IPv6-only network", () => {
    const { config } = parse({ EnableIPv4: false, EnableIPv6: true, IPv6Network: "fc00::/48" });
    expect(config.families as unknown).toEqual({
      6: {
        network: "fc00::/48",
        subnetLength: 64,
        subnetMin: "fc00:0:0:1::",
        subnetMax: "fc00:0:0:ffff::",
      },
    });
  });

  test("matches keys in any case; the last of several spellings wins", () => {
    const text = `{"NETWORK":"10.1.0.0/16","network":"10.2.0.0/16","backend":{"type":"host-gw",` +
      `"TYPE":"alloc"},"subnetlen":null}`;
    const { config, warnings } = parse(text);
    expect(String(config.families[4]?.network)).toBe("10.2.0.0/16");
    expect(config.backend).toEqual({ type: "alloc", options: {} });
    expect(warnings).toEqual([]);
  });

  test.each(["10.0.0.0/8", "100.64.0.0/10", "198.18.0.0/15", "192.0.2.0/24", "8.0.0.0/8"])(
    "accepts the network %p",
    (network) =>
      expect(String(parse({ Network: network }).config.families[4]?.network)).toBe(network),
  );

  test("warns about a network whose family is disabled", () => {
    expect(parse({ Network: "10.5.0.0/16", IPv6Network: "fc00::/48" }).warnings).toEqual([
      `IPv6Network in ${SOURCE} has no effect because EnableIPv6 is false; set EnableIPv6 to ` +
      "true, or remove IPv6Network",
    ]);
    const { config, warnings } = parse({
      EnableIPv4: false,
      EnableIPv6: true,
      Network: "10.5.0.0/16",
      IPv6Network: "fc00::/48",
    });
    expect(Object.keys(config.families)).toEqual(["6"]);
    expect(warnings).toEqual([
      `Network in ${SOURCE} has no effect because EnableIPv4 is false; set EnableIPv4 to true, ` +
      "or remove Network",
    ]);
  });

  test("masks host bits and warns about unknown keys by name", () => {
    const { config, warnings } = parse({ Network: "10.5.7.1/16", SubnetLength: 25 });
    expect(String(config.families[4]?.network)).toBe("10.5.0.0/16");
    expect(warnings).toEqual([
      `unknown key "SubnetLength" in ${SOURCE} is ignored; did you mean "SubnetLen"?`,
      `Network in ${SOURCE} is 10.5.7.1/16, which has host bits set; using 10.5.0.0/16`,
    ]);
  });

  test.each([
    ["10.5.0.0/22", 24, "10.5.1.0", "10.5.3.0"],
    ["10.5.0.0/23", 25, "10.5.0.128", "10.5.1.128"],
    ["10.5.0.0/28", 30, "10.5.0.4", "10.5.0.12"],
  ])("splits the small network %p into /%p", (network, length, min, max) => {
    expect(parse({ Network: network }).config.families[4] as unknown).toEqual({
      network,
      subnetLength: length,
      subnetMin: min,
      subnetMax: max,
    });
  });

  test.each([
    ["fc00::/62", 64, "fc00:0:0:1::", "fc00:0:0:3::"],
    ["fc00::/63", 65, "fc00::8000:0:0:0", "fc00:0:0:1:8000::"],
    ["fc00::/124", 126, "fc00::4", "fc00::c"],
  ])("splits the small network %p into /%p", (network, length, min, max) => {
    const { config } = parse({ EnableIPv4: false, EnableIPv6: true, IPv6Network: network });
    expect(config.families[6] as unknown).toEqual({
      network,
      subnetLength: length,
      subnetMin: min,
      subnetMax: max,
    });
  });

  test("an unspecified SubnetMin or SubnetMax counts as missing, as in Go flannel", () => {
    const { config } = parse({
      Network: "10.5.0.0/16",
      SubnetMin: "0.0.0.0",
      SubnetMax: "0.0.0.0",
    });
    expect(String(config.families[4]?.subnetMin)).toBe("10.5.1.0");
    expect(String(config.families[4]?.subnetMax)).toBe("10.5.255.0");
    const unspecified = { IPv6SubnetMin: "::", IPv6SubnetMax: "::" };
    const ipv6 = { EnableIPv4: false, EnableIPv6: true, IPv6Network: "fc00::/48", ...unspecified };
    expect(String(parse(ipv6).config.families[6]?.subnetMin)).toBe("fc00:0:0:1::");
    expect(String(parse(ipv6).config.families[6]?.subnetMax)).toBe("fc00:0:0:ffff::");
  });

  test("a range may be a single subnet, and subnets may have any length up to the limits", () => {
    const only = { Network: "10.5.0.0/16", SubnetMin: "10.5.9.0", SubnetMax: "10.5.9.0" };
    const { subnetMin, subnetMax } = parse(only).config.families[4] as FamilyNetwork;
    expect([subnetMin, subnetMax] as string[]).toEqual(["10.5.9.0", "10.5.9.0"]);
    for (const SubnetLen of [18, 30]) {
      const { config } = parse({ Network: "10.5.0.0/16", SubnetLen });
      expect(config.families[4]?.subnetLength).toBe(SubnetLen);
    }
  });

  test("keeps the parser's error as the cause of its own", () => {
    try {
      parse("not json");
      expect.unreachable();
    } catch (error) {
      expect((error as ConfigError).cause).toBeInstanceOf(SyntaxError);
    }
  });

  test("rejects text that exceeds the limits, and quotes little of a long value", () => {
    const cases: [string, string][] = [
      [
        `{"Network":"10.5.0.0/16","Backend":${"[".repeat(60_000)}`,
        "is nested 60001 levels deep, more than 32; shorten it",
      ],
      [`{"Network":"${"1".repeat(1_100_000)}"}`, "has 1100014 bytes, more than 1048576"],
      [`{"Network":"${"1".repeat(1_000)}"}`, `is "${"1".repeat(60)}…"; it must be`],
    ];
    for (const [text, reason] of cases) {
      expect(() => parse(text)).toThrow(ConfigError);
      expect(() => parse(text)).toThrow(reason);
    }
  });

  test("names ten unknown keys and counts the others", () => {
    const unknown = Array.from({ length: 1000 }, (_, n) => [`x${n}`, 1]);
    const { warnings } = parse({ Network: "10.5.0.0/16", ...Object.fromEntries(unknown) });
    expect(warnings).toHaveLength(11);
    expect(warnings[10]).toContain("990 more unknown keys");
  });

  test.each([
    ["not json", "is not JSON: "],
    ["[]", 'is "[]", not a JSON object'],
    ["null", 'is "null", not a JSON object'],
    [{}, "Network is missing in"],
    [{ EnableIPv4: false }, "EnableIPv4 and EnableIPv6 in"],
    [{ Network: "10.5.0.0/16", EnableIPv6: true }, "IPv6Network is missing in"],
    [{ Network: "10.5.0.0" }, 'is "10.5.0.0"; it must be an IPv4 network such as "10.5.0.0/16"'],
    [{ Network: "fc00::/48" }, "it must be an IPv4 network"],
    [{ Network: 5 }, "it must be an IPv4 network"],
    [{ Network: "10.5.0.0/16", SubnetMin: 5 }, "SubnetMin in"],
    [{ Network: "10.5.0.0/16", SubnetMin: "10.5" }, 'is "10.5"; it must be an IPv4 address'],
    [{ Network: "10.5.0.0/16", SubnetMin: "fc00::" }, "it must be an IPv4 address"],
    [{ Network: "0.0.0.0/0" }, "which contains all addresses"],
    ...["127.0.0.0/16", "224.1.0.0/16", "169.254.0.0/16", "0.1.0.0/16", "255.0.0.0/8"].map((
      network,
    ): [object, string] => [{ Network: network }, `is ${network}, which overlaps `]),
    [
      { Network: "0.0.0.0/1" },
      "which overlaps 0.0.0.0/8 (this host on this network); choose a network that",
    ],
    [{ Network: "128.0.0.0/1" }, "which overlaps 169.254.0.0/16 (link-local)"],
    ...["::/48", "::ffff:0:0/96", "fe80::/64", "ff15::/48", "8000::/1"].map((
      network,
    ): [object, string] => [
      { EnableIPv4: false, EnableIPv6: true, IPv6Network: network },
      "choose a network that nothing else uses, such as fc00::/48",
    ]),
    [
      { Network: "10.5.0.0/29" },
      "too small for four subnets of four addresses; use a /28 or a larger network",
    ],
    [{ Network: "10.5.0.0/16", SubnetLen: 31 }, "from 18 (four subnets) to 30"],
    [{ Network: "10.5.0.0/16", SubnetLen: 17 }, "from 18 (four subnets) to 30"],
    [
      { Network: "10.5.0.0/16", SubnetLen: "24" },
      'SubnetLen in /coreos.com/network/config is "24"',
    ],
    [
      { Network: "10.5.0.0/16", SubnetMin: "10.6.0.0" },
      "which is outside of the network 10.5.0.0/16; choose an address inside it",
    ],
    [{ Network: "10.5.0.0/16", SubnetMax: "10.6.0.0" }, "SubnetMax in"],
    [
      { Network: "10.5.0.0/16", SubnetMin: "10.5.9.1" },
      "which is not the first address of a /24; write 10.5.9.0",
    ],
    [
      { Network: "10.5.0.0/16", SubnetMin: "10.5.9.0", SubnetMax: "10.5.8.0" },
      "which is before SubnetMin 10.5.9.0; swap them, or omit one",
    ],
    [{ Network: "10.5.0.0/16", Backend: "vxlan" }, 'must be an object such as {"Type": "vxlan"}'],
    [{ Network: "10.5.0.0/16", Backend: ["vxlan"] }, "must be an object"],
    [{ Network: "10.5.0.0/16", Backend: { Type: 1 } }, "Type in the Backend object of"],
    [
      { EnableIPv4: false, EnableIPv6: true, IPv6Network: "fc00::/125" },
      "use a /124 or a larger network",
    ],
    [
      { EnableIPv4: false, EnableIPv6: true, IPv6Network: "fc00::/48", IPv6SubnetLen: 127 },
      "to 126",
    ],
  ])("rejects %p and says what to do", (value, reason) => {
    let error: unknown;
    try {
      parse(value);
    } catch (caught) {
      error = caught;
    }
    expect(error).toBeInstanceOf(ConfigError);
    expect((error as Error).message).toContain(SOURCE);
    expect((error as Error).message).toContain(reason);
    expect((error as Error).message).not.toContain("\n");
  });

  test("with subnets of Kubernetes, only the network is checked", () => {
    const { config } = parse({ Network: "10.5.0.0/29", SubnetMin: "10.9.0.0" }, "kubernetes");
    expect(config.families[4] as unknown).toEqual({
      network: "10.5.0.0/29",
      subnetLength: 29,
      subnetMin: "10.5.0.0",
      subnetMax: "10.5.0.7",
    });
    expect(() => parse({}, "kubernetes")).toThrow("Network is missing");
    const given = parse({ Network: "10.5.0.0/16", SubnetLen: 26 }, "kubernetes");
    expect(given.config.families[4]?.subnetLength).toBe(26);
  });
});

test("the subnets of nodes are those from SubnetMin to the end of the one at SubnetMax", () => {
  const network = parse({ Network: "10.5.0.0/16", SubnetMin: "10.5.8.0", SubnetMax: "10.5.20.0" })
    .config.families[4] as FamilyNetwork;
  const overlapping = [
    "10.5.8.0/32",
    "10.5.20.255/32",
    "10.5.0.0/20",
    "10.5.20.128/25",
    "10.0.0.0/8",
  ];
  const others = ["10.5.7.255/32", "10.5.21.0/32", "10.6.8.0/32", "::a05:800/128", "fc00::/48"];
  for (const text of overlapping) {
    expect([text, overlapsAssignableRange(network, prefix(text))]).toEqual([text, true]);
  }
  for (const text of others) {
    expect([text, overlapsAssignableRange(network, prefix(text))]).toEqual([text, false]);
  }
});
