/** Each mistake of a configuration, with its place; the configuration with its defaults. */

import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { BACKENDS } from "../../../src/backend/backend_registry.ts";
import { makePrefix, type Prefix, prefixRange } from "../../../src/addr/prefix.ts";
import { formatAddress } from "../../../src/addr/ip.ts";
import { parseNetworkConfig } from "../../../src/config/network_config.ts";
import { checkConfigText } from "../../../src/operator/check_config.ts";
import { effectiveConfigText } from "../../../src/operator/config_text.ts";
import { networkCapacity } from "../../../src/operator/network_capacity.ts";

const PSK = Buffer.alloc(32, 1).toString("base64");

/** The mistakes, one line each. */
async function mistakes(
  text: string,
  allocation: "flanneld" | "kubernetes" = "flanneld",
): Promise<string[]> {
  const { mistakes, config } = await checkConfigText(text, allocation);
  const hasError = mistakes.some(({ severity }) => severity === "error");
  expect(config === undefined).toBe(hasError);
  return mistakes.map(({ line, column, severity, message }) =>
    `${line}:${column} ${severity}: ${
      message.replace(/ in the network configuration.*? is /, " is ")
    }`
  );
}

describe("mistakes", () => {
  test("of every key are found at once, in the order of the text", async () => {
    expect(
      await mistakes(`{
  "Network": "10.5.0.0/16",
  "SubnetLen": 17,
  "SubnetMin": "10.6.0.0",
  "Fooo": 1,
  "EnableIPv4": "yes",
  "Backend": {
    "Type": "vxlan", "VNI": -1, "Porrt": 8472,
    "MTU": "x"
  }
}`),
    ).toEqual([
      "3:3 error: SubnetLen is 17; with Network 10.5.0.0/16 it must be from 18 (four subnets) " +
      "to 30 (four addresses each)",
      "4:3 error: SubnetMin is 10.6.0.0, which is outside of the network 10.5.0.0/16; choose an " +
      "address inside it",
      '5:3 warning: unknown key "Fooo" is ignored',
      '6:3 error: EnableIPv4 is "yes"; it must be true or false',
      "8:22 error: VNI is -1; it must be an integer from 0 to 16777215",
      '8:33 warning: unknown key "Porrt" is ignored; did you mean "Port"?',
      '9:5 error: MTU is "x"; it must be an integer from 200 to 65535',
    ]);
  });

  test.each([
    ["{}", "1:1 error: Network is missing"],
    ["[]", "1:1 error: the network configuration is "],
    ["nonsense", '1:1 error: not JSON: expected a value, found "n"'],
    ['{"Network": "10.5.0.0/33"}', "1:2 error: Network is "],
    ['{"Network": "10.5.1.0/16"}', "1:2 warning: Network is 10.5.1.0/16, which has host bits"],
    ['{"Netwrok": "10.5.0.0/16"}', "1:1 error: Network is missing"],
    ['{"Network": "10.5.0.0/16", "EnableIPv4": false}', "1:28 error: EnableIPv4 and EnableIPv6"],
    ['{"Network": "10.5.0.0/16", "IPv6Network": "fc00::/48"}', "1:28 warning: IPv6Network is "],
    ['{"Network": "10.5.0.0/16", "Backend": "vxlan"}', '1:28 error: Backend is "vxlan"'],
    ['{"Network": "10.5.0.0/16", "Backend": {"Type": 1}}', "1:40 error: Type in the Backend"],
    [
      '{"Network": "10.5.0.0/16", "Backend": {"Type": "x"}}',
      '1:40 error: unknown Backend Type "x"',
    ],
    [
      '{"Network": "10.5.0.0/16", "Backend": {"type": "wireguard", "mode": "ipv6"}}',
      '1:61 error: Mode "ipv6" needs IPv6',
    ],
    [
      '{"Network": "10.5.0.0/16", "Backend": {"Type": "ipsec"}}',
      "1:28 error: the PSK of the ipsec backend is missing",
    ],
    [
      '{"Network": "10.5.0.0/16", "Backend": {"Type": "ipsec", "PSK": "short"}}',
      "1:57 error: the PSK of the ipsec backend has 5 bytes",
    ],
    [
      '{"Network": "10.5.0.0/16", "Backend": {"Type": "wireguard", "PSK": "[redacted]"}}',
      "1:61 error: PSK ",
    ],
    [
      '{"network": "10.5.0.0/16", "Network": "10.6.0.0/16"}',
      '1:2 warning: "network" is given 2 times; the last one counts',
    ],
    [
      '{"Network": "10.5.0.0/16", "Backend": {"Type": "extension"}}',
      "1:39 warning: no SubnetAddCommand is configured",
    ],
  ])("of %s: %s", async (text, expected) => {
    const [first = ""] = await mistakes(text);
    expect(first).toStartWith(expected);
  });

  test("are none in a valid configuration", async () => {
    expect(await mistakes('{"Network": "10.5.0.0/16"}')).toEqual([]);
    const windows = '{"Network": "10.5.0.0/16", "Backend": {"Type": "vxlan", "Name": "x"}}';
    expect(await mistakes(windows)).toEqual([]);
  });

  test("with Kubernetes are none in the lengths that it does not use", async () => {
    const text = '{"Network": "10.244.0.0/16", "SubnetLen": 17}';
    expect(await mistakes(text)).toHaveLength(1);
    expect(await mistakes(text, "kubernetes")).toEqual([]);
  });

  test("of many unknown keys do not take long", async () => {
    const keys = Object.fromEntries(Array.from({ length: 5_000 }, (_, n) => [`key${n}`, n]));
    const found = await mistakes(JSON.stringify({ Network: "10.5.0.0/16", ...keys }));
    expect(found).toContain(
      "1:1 warning: 4990 more unknown keys in the network configuration are " +
        "ignored",
    );
  });

  test("of any JSON are found without a failure of this program", async () => {
    const value = fc.oneof(
      fc.constantFrom("10.5.0.0/16", "fc00::/48", "10.5.1.0", true, 24, "vxlan", "wireguard", PSK),
      fc.jsonValue({ maxDepth: 2 }),
    );
    const names = ["Network", "IPv6Network", "EnableIPv6", "SubnetLen", "SubnetMin", "SubnetMax"];
    const options = ["Type", "VNI", "PSK", "Mode", "MTU", "Port", "SubnetAddCommand"];
    const record = (names: readonly string[]) =>
      fc.dictionary(fc.oneof(fc.constantFrom(...names), fc.string()), value);
    await fc.assert(
      fc.asyncProperty(record(names), record(options), async (network, backend) => {
        const text = JSON.stringify({ Network: "10.5.0.0/16", ...network, Backend: backend });
        const { config, mistakes } = await checkConfigText(text, "flanneld");
        let isValid = true;
        try {
          const parsed = parseNetworkConfig(text, { source: "x", warn: () => {} });
          await BACKENDS.checkConfig(parsed, { warn: () => {} } as never);
        } catch {
          isValid = false;
        }
        // What a daemon accepts has no errors, and the other way round.
        expect({ text, isValid: config !== undefined }).toEqual({ text, isValid });
        if (!isValid) expect(mistakes.length).toBeGreaterThan(0);
      }),
      { numRuns: 300 },
    );
  });
});

describe("the configuration with its defaults", () => {
  const effective = async (text: string, allocation: "flanneld" | "kubernetes" = "flanneld") => {
    const { config } = await checkConfigText(text, allocation);
    if (config === undefined) throw new Error("invalid");
    const module = await BACKENDS.forNetwork(config).load();
    return { config, text: effectiveConfigText(config, module.options, allocation) };
  };

  test.each(["alloc", "extension", "host-gw", "ipip", "tencent-vpc", "udp", "vxlan", "wireguard"])(
    "of %s configures the same network",
    async (type) => {
      const families = BACKENDS.find(type)?.families.includes(6)
        ? { EnableIPv6: true, IPv6Network: "fc00::/48" }
        : {};
      const value = { Network: "10.5.0.0/16", ...families, Backend: { Type: type } };
      const { config, text } = await effective(JSON.stringify(value));
      expect((await checkConfigText(text, "flanneld")).mistakes.map(({ message }) => message))
        .toEqual(type === "extension" ? [expect.stringContaining("no SubnetAddCommand")] : []);
      const again = parseNetworkConfig(text, { source: "x", warn: () => {} });
      expect({ ...again, backend: again.backend.type })
        .toEqual({ ...config, backend: config.backend.type });
    },
  );

  test("spells keys as the manual, and contains no secret", async () => {
    const { text } = await effective(JSON.stringify({
      network: "10.5.0.0/16",
      backend: { type: "WireGuard", psk: PSK, listenport: 1234 },
    }));
    expect(text).not.toContain(PSK);
    expect(JSON.parse(text)).toEqual({
      EnableIPv4: true,
      EnableIPv6: false,
      Network: "10.5.0.0/16",
      SubnetLen: 24,
      SubnetMin: "10.5.1.0",
      SubnetMax: "10.5.255.0",
      EnableNFTables: false,
      Backend: {
        Type: "wireguard",
        PSK: "[redacted]",
        ListenPort: 1234,
        ListenPortV6: 51821,
        Mode: "separate",
        PersistentKeepaliveInterval: 0,
      },
    });
  });

  test("has no subnets with Kubernetes", async () => {
    const { text } = await effective('{"Network": "10.244.0.0/16"}', "kubernetes");
    expect(JSON.parse(text)).not.toHaveProperty("SubnetLen");
  });
});

test("the MTU before a start is that of the manual", async () => {
  const external = { mtuBytes: 1500 };
  const mtu = async (Backend: { readonly Type: string }, more: object = {}) => {
    const text = JSON.stringify({ Network: "10.5.0.0/16", Backend, ...more });
    const config = parseNetworkConfig(text, { source: "x", warn: () => {} });
    return (await BACKENDS.forNetwork(config).load()).mtuBytes(config, external);
  };
  const ipv6 = { EnableIPv6: true, IPv6Network: "fc00::/48" };
  const PSK = "x".repeat(96);
  expect(await mtu({ Type: "vxlan" })).toBe(1450);
  expect(await mtu({ Type: "vxlan" }, ipv6)).toBe(1430);
  expect(await mtu({ Type: "host-gw" })).toBe(1500);
  expect(await mtu({ Type: "wireguard" })).toBe(1420);
  expect(await mtu({ Type: "ipip" })).toBe(1480);
  expect(await mtu({ Type: "udp" })).toBe(1472);
  expect(await mtu({ Type: "ipsec", PSK } as { Type: string })).toBe(1423);
  expect(await mtu({ Type: "extension" })).toBe(1500);
  expect(await mtu({ Type: "tencent-vpc" })).toBe(1500);
  expect(await mtu({ Type: "alloc" })).toBe(1500);
});

test("the capacity counts each subnet that overlaps a claim once", () => {
  const config = parseNetworkConfig(
    '{"Network": "10.5.0.0/24", "SubnetLen": 28, "SubnetMin": "10.5.0.32", ' +
      '"SubnetMax": "10.5.0.192"}',
    { source: "x", warn: () => {} },
  );
  const network = config.families[4];
  if (network === undefined) throw new Error("no IPv4");
  const claim = fc.tuple(fc.integer({ min: 0, max: 0x1ff }), fc.integer({ min: 22, max: 32 }))
    .map(([value, length]): Prefix =>
      makePrefix(formatAddress(4, 0x0a050000n - 0x80n + BigInt(value)), length)
    );
  fc.assert(fc.property(fc.array(claim, { maxLength: 6 }), (claims) => {
    const subnets = Array.from({ length: 11 }, (_, n) => {
      return prefixRange(makePrefix(formatAddress(4, 0x0a050020n + 16n * BigInt(n)), 28));
    });
    const taken = subnets.filter((subnet) =>
      claims.map(prefixRange).some((one) => one.first <= subnet.last && one.last >= subnet.first)
    );
    expect(networkCapacity(network, claims)).toEqual({ total: 11n, taken: BigInt(taken.length) });
  }));
});
