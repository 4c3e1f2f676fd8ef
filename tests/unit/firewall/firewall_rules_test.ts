import { expect, test } from "bun:test";
import { ruleText, withoutFullyRandom } from "../../../src/firewall/rules/firewall_rules.ts";
import { NETWORK4, rulesFor, SUBNET4 } from "./fixtures.ts";

const IPV4_MASQUERADE = [
  "mark 0x4000/0x4000 return",
  "from 10.5.72.0/24 to 10.5.0.0/16 return",
  "from 10.5.0.0/16 to 10.5.72.0/24 return",
  "from not 10.5.0.0/16 to 10.5.72.0/24 return",
  "from 10.5.0.0/16 to not 224.0.0.0/4 masquerade fully-random",
  "from not 10.5.0.0/16 to 10.5.0.0/16 masquerade fully-random",
];

test("firewallRules() returns six masquerading rules and two forwarding rules in order", () => {
  const rules = rulesFor()[4];
  expect(rules?.masquerade.map(ruleText)).toEqual(IPV4_MASQUERADE);
  expect(rules?.forward.map(ruleText)).toEqual([
    "from 10.5.0.0/16 accept",
    "to 10.5.0.0/16 accept",
  ]);
});

test("firewallRules() exempts IPv6 multicast by its own prefix", () => {
  expect(rulesFor()[6]?.masquerade.map(ruleText)).toEqual([
    "mark 0x4000/0x4000 return",
    "from 2001:cafe:42:1::/64 to 2001:cafe:42::/56 return",
    "from 2001:cafe:42::/56 to 2001:cafe:42:1::/64 return",
    "from not 2001:cafe:42::/56 to 2001:cafe:42:1::/64 return",
    "from 2001:cafe:42::/56 to not ff00::/8 masquerade fully-random",
    "from not 2001:cafe:42::/56 to 2001:cafe:42::/56 masquerade fully-random",
  ]);
});

test("firewallRules() returns rules for the enabled families only", () => {
  const rules = rulesFor({ families: { 4: { network: NETWORK4, subnet: SUBNET4 } } });
  expect(Object.keys(rules)).toEqual(["4"]);
});

test("firewallRules() has no masquerading and no forwarding rules if both are disabled", () => {
  const rules = rulesFor({ ipMasq: false, forward: false })[4];
  expect(rules).toEqual({ network: NETWORK4, masquerade: [], forward: [] });
});

test("rules without random source ports are the same by option and by fallback", () => {
  const rules = rulesFor({ fullyRandom: false })[4];
  expect(rules?.masquerade.slice(4).map(ruleText)).toEqual([
    "from 10.5.0.0/16 to not 224.0.0.0/4 masquerade",
    "from not 10.5.0.0/16 to 10.5.0.0/16 masquerade",
  ]);
  const full = rulesFor()[4];
  expect(full && withoutFullyRandom(full)).toEqual(rules as NonNullable<typeof rules>);
});
