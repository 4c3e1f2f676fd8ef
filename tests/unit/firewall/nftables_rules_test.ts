import { expect, test } from "bun:test";
import type { Prefix } from "../../../src/addr/prefix.ts";
import {
  acceptsNetwork,
  countJumps,
  dropsEverything,
  matchesSets,
  readForwardChains,
} from "../../../src/firewall/nftables/foreign_rules.ts";
import {
  type NftTable,
  readNftTable,
  readNftTableNames,
} from "../../../src/firewall/nftables/nft_listing.ts";
import { nftablesCorrection } from "../../../src/firewall/nftables/nftables_rules.ts";
import type { FamilyRules } from "../../../src/firewall/rules/firewall_rules.ts";
import { NETWORK4, NETWORK6, rulesFor } from "./fixtures.ts";

const POSTRTG =
  `add chain ip flannel-ipv4 postrtg { type nat hook postrouting priority 100; policy accept; }
add rule ip flannel-ipv4 postrtg meta mark & 0x4000 == 0x4000 return comment "flanneld masq"
add rule ip flannel-ipv4 postrtg ip saddr 10.5.72.0/24 ip daddr 10.5.0.0/16 return \
comment "flanneld masq"
add rule ip flannel-ipv4 postrtg ip saddr 10.5.0.0/16 ip daddr 10.5.72.0/24 return \
comment "flanneld masq"
add rule ip flannel-ipv4 postrtg ip saddr != 10.5.0.0/16 ip daddr 10.5.72.0/24 return \
comment "flanneld masq"
add rule ip flannel-ipv4 postrtg ip saddr 10.5.0.0/16 ip daddr != 224.0.0.0/4 \
masquerade fully-random comment "flanneld masq"
add rule ip flannel-ipv4 postrtg ip saddr != 10.5.0.0/16 ip daddr 10.5.0.0/16 \
masquerade fully-random comment "flanneld masq"
`;
const FORWARD =
  `add chain ip flannel-ipv4 forward { type filter hook forward priority 0; policy accept; }
add rule ip flannel-ipv4 forward ip saddr 10.5.0.0/16 accept comment "flanneld forward"
add rule ip flannel-ipv4 forward ip daddr 10.5.0.0/16 accept comment "flanneld forward"
`;

/** A table in the JSON of libnftables with only the chain `forward`. */
function table(
  { base = { type: "filter", hook: "forward", prio: 0, policy: "accept" }, rules, flags }: {
    base?: Record<string, unknown>;
    rules: unknown[][];
    flags?: unknown;
  },
): NftTable {
  const common = { family: "ip", table: "flannel-ipv4" };
  return readNftTable(JSON.stringify({
    nftables: [
      { metainfo: { version: "1.0.6", json_schema_version: 1 } },
      { table: { family: "ip", name: "flannel-ipv4", handle: 1, ...(flags ? { flags } : {}) } },
      { chain: { ...common, name: "forward", handle: 1, ...base } },
      ...rules.map((expr, index) => ({
        rule: { ...common, chain: "forward", handle: index + 10, expr },
      })),
    ],
  }));
}

function match(field: string, addr: string, len: number, op = "=="): unknown {
  return {
    match: { op, left: { payload: { protocol: "ip", field } }, right: { prefix: { addr, len } } },
  };
}

const FORWARD_RULES = [
  [match("saddr", "10.5.0.0", 16), { accept: null }],
  [match("daddr", "10.5.0.0", 16), { accept: null }],
];
const OTHERS_RULES = [
  [match("saddr", "10.9.0.0", 16), { accept: null }],
  [match("daddr", "10.9.0.0", 16), { accept: null }],
];

function correction(
  actual: NftTable | undefined,
  rules: FamilyRules | undefined = rulesFor({ ipMasq: false })[4],
  networks: readonly Prefix[] = [NETWORK4],
): string | undefined {
  return nftablesCorrection({ family: 4, table: actual, rules, networks });
}

test("without a table, it is added with both chains in one transaction", () => {
  expect(correction(undefined, rulesFor()[4]))
    .toBe(`add table ip flannel-ipv4\n${POSTRTG}${FORWARD}`);
});

test("IPv6 rules are in a separate table and spelled like IPv4 rules", () => {
  const text = nftablesCorrection({
    family: 6,
    table: undefined,
    rules: rulesFor()[6],
    networks: [NETWORK6],
  });
  expect(text).toContain(
    `add rule ip6 flannel-ipv6 postrtg ip6 saddr 2001:cafe:42::/56 ip6 daddr != ff00::/8 ` +
      `masquerade fully-random comment "flanneld masq"\n`,
  );
});

test("installed rules need no correction, whichever program installed them", () => {
  expect(correction(table({ rules: FORWARD_RULES }))).toBeUndefined();
});

test("a chain with a missing rule is flushed and refilled in one transaction", () => {
  expect(correction(table({ rules: FORWARD_RULES.slice(1) }))).toBe(
    `add table ip flannel-ipv4\n${
      FORWARD.replace(/.*\n/, "flush chain ip flannel-ipv4 forward\n")
    }`,
  );
});

test("a chain at another hook is recreated", () => {
  const base = { type: "filter", hook: "input", prio: 0, policy: "accept" };
  expect(correction(table({ base, rules: FORWARD_RULES }))).toBe(
    `add table ip flannel-ipv4
flush chain ip flannel-ipv4 forward
delete chain ip flannel-ipv4 forward
${FORWARD}`,
  );
});

test("a policy of drop is corrected", () => {
  const base = { type: "filter", hook: "forward", prio: 0, policy: "drop" };
  expect(correction(table({ base, rules: FORWARD_RULES }))).toContain("policy accept");
});

test("a dormant table is activated", () => {
  for (const flags of ["dormant", ["owner", "dormant"], "flannel-ipv4"]) {
    expect(correction(table({ rules: FORWARD_RULES, flags }))).toBe("add table ip flannel-ipv4\n");
  }
});

test("a table with other flags is not dormant", () => {
  expect(correction(table({ rules: FORWARD_RULES, flags: ["owner"] }))).toBeUndefined();
});

test("the fourth rule of Go flannel, which hides the sixth, is replaced", () => {
  const goRule = [
    match("saddr", "10.5.72.0", 24, "!="),
    match("daddr", "10.5.0.0", 16),
    { return: null },
  ];
  expect(correction(table({ rules: [...FORWARD_RULES, goRule] }))).toContain("flush chain");
});

test("flags of masquerade are read as text and as a list", () => {
  const rule = (flags: unknown) => [
    match("saddr", "10.5.0.0", 16),
    match("daddr", "224.0.0.0", 4, "!="),
    { masquerade: flags === undefined ? null : { flags } },
  ];
  const verdicts = ["fully-random", ["fully-random"], undefined, "random", ["random", "persistent"]]
    .map((flags) =>
      table({ rules: [rule(flags)] }).chains.get("forward")?.entries[0]?.rule?.verdict
    );
  expect(verdicts).toEqual([
    "masquerade fully-random",
    "masquerade fully-random",
    "masquerade",
    undefined,
    undefined,
  ]);
});

test("a rule with conditions that ours do not have is replaced", () => {
  const more = { match: { op: "==", left: { meta: { key: "iifname" } }, right: "eth0" } };
  const twice = [match("saddr", "10.0.0.0", 8), ...(FORWARD_RULES[0] as unknown[])];
  for (const rule of [[more, ...(FORWARD_RULES[0] as unknown[])], twice]) {
    expect(correction(table({ rules: [rule, FORWARD_RULES[1] as unknown[]] }))).toContain("flush");
  }
});

test("without rules, the table is deleted", () => {
  expect(nftablesCorrection({
    family: 4,
    table: table({ rules: FORWARD_RULES }),
    rules: undefined,
    networks: [NETWORK4],
  })).toBe("delete table ip flannel-ipv4\n");
  expect(correction(undefined, rulesFor({ ipMasq: false, forward: false })[4])).toBeUndefined();
});

test("two daemons with different networks share the chains without undoing each other", () => {
  expect(correction(table({ rules: [...OTHERS_RULES, ...FORWARD_RULES] }))).toBeUndefined();
  expect(correction(table({ rules: [...OTHERS_RULES, FORWARD_RULES[1] as unknown[]] }))).toBe(
    `add table ip flannel-ipv4
delete rule ip flannel-ipv4 forward handle 12
insert rule ip flannel-ipv4 forward ip daddr 10.5.0.0/16 accept comment "flanneld forward"
insert rule ip flannel-ipv4 forward ip saddr 10.5.0.0/16 accept comment "flanneld forward"
`,
  );
  const none = rulesFor({ ipMasq: false, forward: false })[4];
  expect(correction(table({ rules: [...OTHERS_RULES, ...FORWARD_RULES] }), none)).toBe(
    `add table ip flannel-ipv4
delete rule ip flannel-ipv4 forward handle 12
delete rule ip flannel-ipv4 forward handle 13
`,
  );
});

test("readNftTableNames() lists tables and rejects other text", () => {
  const json = `{"nftables": [{"metainfo": {}}, {"table": {"family": "ip", "name": "nat"}}]}`;
  expect(readNftTableNames(json)).toEqual(["nat"]);
  expect(() => readNftTableNames("{}")).toThrow(SyntaxError);
  expect(() => readNftTableNames("Error: no")).toThrow(SyntaxError);
});

/** A listing of one chain with these rules. */
function listing(...rules: readonly (readonly unknown[])[]): string {
  const chain = { family: "inet", table: "other", name: "fwd", hook: "forward", policy: "drop" };
  return JSON.stringify({
    nftables: [
      { metainfo: {} },
      { chain },
      { chain: { ...chain, family: "bridge" } },
      { chain: { ...chain, hook: "input" } },
      ...rules.map((expr) => ({ rule: { family: "inet", table: "other", chain: "fwd", expr } })),
    ],
  });
}

const from = (right: unknown, op = "==") => ({
  match: { op, left: { payload: { protocol: "ip", field: "saddr" } }, right },
});
const OURS = { prefix: { addr: "10.5.0.0", len: 16 } };
const COUNTER = { counter: { packets: 0, bytes: 0 } };

test("readForwardChains() finds the chains that see forwarded packets of IPv4 or IPv6", () => {
  expect(readForwardChains(listing())).toEqual([
    { family: "inet", table: "other", name: "fwd", isPolicyDrop: true },
  ]);
});

test.each<[string, readonly unknown[], boolean]>([
  ["drop", [{ drop: null }], true],
  ["a counted and logged reject", [COUNTER, { log: null }, { reject: { type: "icmpx" } }], true],
  ["drop of some", [from(OURS), { drop: null }], false],
  ["accept", [COUNTER, { accept: null }], false],
])("dropsEverything() of a rule with %s", (_name, rule, expected) => {
  expect(dropsEverything(listing([COUNTER], rule))).toBe(expected);
});

test.each<[string, readonly unknown[], boolean]>([
  ["accepts it", [from(OURS), COUNTER, { accept: null }], true],
  [
    "accepts a wider network",
    [from({ prefix: { addr: "10.0.0.0", len: 8 } }), { accept: null }],
    true,
  ],
  ["sends it to a chain", [from(OURS), { goto: { target: "trusted" } }], true],
  [
    "accepts a part of it",
    [from({ prefix: { addr: "10.5.1.0", len: 24 } }), { accept: null }],
    false,
  ],
  ["accepts all others", [from(OURS, "!="), { accept: null }], false],
  ["drops it", [from(OURS), { drop: null }], false],
  ["accepts what it does not name", [{ accept: null }], false],
])("acceptsNetwork() of a rule that %s", (_name, rule, expected) => {
  expect(acceptsNetwork(listing(rule), NETWORK4)).toBe(expected);
});

test.each<[string, readonly unknown[], boolean]>([
  ["a named set", [from("@blocked"), { drop: null }], true],
  ["a set without a name", [from({ set: ["10.0.0.1", "10.0.0.2"] }), { drop: null }], true],
  ["a verdict map", [{ vmap: { key: {}, data: {} } }], true],
  ["a prefix", [from(OURS), { drop: null }], false],
  ["an address", [from("10.0.0.1"), { drop: null }], false],
])("matchesSets() of a rule with %s", (_name, rule, expected) => {
  expect(matchesSets(listing([COUNTER], rule))).toBe(expected);
});

test("countJumps() counts the rules that jump to the chain", () => {
  const jump = { jump: { target: "FLANNEL-FWD" } };
  const other = { jump: { target: "OTHER" } };
  expect(countJumps(listing([jump], [COUNTER, jump], [other]), "FLANNEL-FWD")).toBe(2);
});
