import { expect, test } from "bun:test";
import { familyOf } from "../../../src/addr/ip.ts";
import { publicAddressDefect } from "../../../src/config/public_address_rule.ts";
import { ip, NETWORKS } from "../../support/sample_network.ts";

const RULE = { config: { families: NETWORKS } };

test("a public address of a family without an overlay network is inside none", () => {
  const rule = { config: { families: { 6: NETWORKS[6] } } };
  expect(publicAddressDefect(ip("10.5.7.1"), 4, rule)).toBeUndefined();
  expect(publicAddressDefect(ip("127.0.0.1"), 4, rule)).toBe("a loopback address");
});

test.each([
  ["0.0.0.0", "an unspecified address"],
  ["127.0.0.1", "a loopback address"],
  ["224.0.0.1", "a multicast address"],
  ["255.255.255.255", "a broadcast address"],
  ["10.5.7.1", "inside the overlay network 10.5.0.0/16"],
  ["10.5.0.9", undefined], // Before SubnetMin: it is in no node's subnet.
  ["192.168.0.2", undefined],
  ["::1", "a loopback address"],
  ["ff02::1", "a multicast address"],
  ["::ffff:192.0.2.1", "an IPv4-mapped address"],
  ["fc00:0:0:9::1", "inside the overlay network fc00::/48"],
  ["2001:db8::1", undefined],
])("%s as a public address is %p", (text, defect) => {
  const address = ip(text);
  expect(publicAddressDefect(address, familyOf(address), RULE)).toBe(
    defect as string,
  );
});
