import { expect, test } from "bun:test";
import { ConfigError } from "../../../src/config/config_error.ts";
import { advertisedAddresses } from "../../../src/overlay/advertised_addresses.ts";
import { FakeKernel } from "../../support/fake_kernel.ts";
import { backendHost, config, external, ip } from "../../support/sample_network.ts";

function advertised(of: readonly (4 | 6)[], has: readonly (4 | 6)[]) {
  const publicAddresses = { 4: ip("203.0.113.1"), 6: ip("2001:db8::1") };
  const all = { ...external([4, 6]), publicAddresses };
  const lacking = has.length === 2 ? all : { ...all, publicAddresses: { 4: publicAddresses[4] } };
  return advertisedAddresses(
    backendHost(new FakeKernel(), config("vxlan", of), { external: lacking }),
  );
}

test("a lease advertises the public addresses of the network's families, and no others", () => {
  expect(advertised([4, 6], [4, 6])).toEqual({ 4: ip("203.0.113.1"), 6: ip("2001:db8::1") });
  expect(advertised([6], [4, 6])).toEqual({ 6: ip("2001:db8::1") });
  expect(advertised([4], [4])).toEqual({ 4: ip("203.0.113.1") });
});

test("a network with a family of which the external interface has no address is rejected", () => {
  expect(() => advertised([4, 6], [4])).toThrow(
    new ConfigError(
      "external interface eth0 has no IPv6 address, and the network has IPv6; add an address, or " +
        "choose another interface with --iface",
    ),
  );
});
