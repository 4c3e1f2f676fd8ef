import { expect, test } from "bun:test";
import { ipv4Network } from "../../../src/overlay/ipv4_network.ts";
import { config, prefix } from "../../support/sample_network.ts";

test("ipv4Network() is the network of a configuration with IPv4 alone", () => {
  expect(ipv4Network(config("ipip", [4]))).toBe(prefix("10.5.0.0/16"));
});

test.each([[[6] as const], [[4, 6] as const]])(
  "ipv4Network() throws for the families %p, which the registry refuses",
  (families) => {
    expect(() => ipv4Network(config("ipip", families))).toThrow(
      "the registry let a network with IPv6 through to the ipip backend",
    );
  },
);
