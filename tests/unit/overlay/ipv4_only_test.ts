import { describe, expect, test } from "bun:test";
import { ConfigError } from "../../../src/config/config_error.ts";
import { readIpv4Config, requireIpv4Only } from "../../../src/overlay/ipv4_only.ts";
import { booleanOption } from "../../../src/config/option_schema.ts";
import { collectingLog, config, NETWORKS, prefix } from "../../support/sample_network.ts";

describe("a backend that carries IPv4 only", () => {
  test("takes the IPv4 network, and its options", () => {
    const schema = { DirectRouting: booleanOption(false) };
    const { options, network } = readIpv4Config(
      config("ipip", [4], { DirectRouting: true }),
      schema,
      collectingLog(),
    );
    expect(options).toEqual({ DirectRouting: true });
    expect(network).toBe(prefix("10.5.0.0/16"));
    expect(requireIpv4Only(config("ipip", [4]))).toEqual(NETWORKS[4]);
  });

  test.each([
    [[4, 6] as const, "EnableIPv6; leave it out, or use vxlan, host-gw or wireguard"],
    [
      [6] as const,
      "EnableIPv6; set it to false and EnableIPv4 to true, or use vxlan, host-gw or wireguard",
    ],
  ])("refuses a network of the families %p, and says what to change", (families, cure) => {
    const read = () => requireIpv4Only(config("ipsec", families));
    expect(read).toThrow(ConfigError);
    expect(read).toThrow(
      `the ipsec backend carries IPv4 only, and the network configuration has ${cure}`,
    );
  });
});
