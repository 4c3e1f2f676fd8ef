import { expect, test } from "bun:test";
import { specialPurposeBlock } from "../../../src/addr/special_purpose.ts";
import { prefix } from "../../support/sample_network.ts";

test.each([
  ["0.0.0.0/8", "this host on this network", "0.0.0.0/32", "0.255.255.255/32"],
  ["127.0.0.0/8", "loopback", "127.0.0.0/32", "127.255.255.255/32"],
  ["169.254.0.0/16", "link-local", "169.254.0.0/32", "169.254.255.255/32"],
  ["224.0.0.0/4", "multicast", "224.0.0.0/32", "239.255.255.255/32"],
  ["240.0.0.0/4", "reserved, with the broadcast address", "240.0.0.0/32", "255.255.255.255/32"],
  ["::/8", "reserved, with loopback and IPv4-mapped addresses", "::/128", "ff:ffff::/32"],
  ["fe80::/10", "link-local", "fe80::/128", "febf:ffff::/32"],
  ["ff00::/8", "multicast", "ff00::/128", "ffff:ffff::/32"],
])("%s, %s, is special from its first address to its last", (block, use, first, last) => {
  for (const inside of [block, first, last]) {
    expect(specialPurposeBlock(prefix(inside)) as unknown).toEqual({ block, use });
  }
});

test("a prefix that contains special blocks is named with the first one", () => {
  expect(specialPurposeBlock(prefix("0.0.0.0/0"))?.use).toBe("this host on this network");
  expect(specialPurposeBlock(prefix("128.0.0.0/1"))?.use).toBe("link-local");
  expect(specialPurposeBlock(prefix("8000::/1"))?.use).toBe("link-local");
});

test.each([
  "1.0.0.0/32",
  "10.0.0.0/8",
  "126.255.255.255/32",
  "128.0.0.0/32",
  "169.253.255.255/32",
  "169.255.0.0/32",
  "192.0.2.0/24",
  "223.255.255.255/32",
  "100::/16",
  "2001:db8::/32",
  "fc00::/7",
  "fe7f:ffff::/32",
  "fec0::/10",
])("%s is not special: networks use it", (text) => {
  expect(specialPurposeBlock(prefix(text))).toBeUndefined();
});
