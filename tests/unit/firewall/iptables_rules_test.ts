import { expect, test } from "bun:test";
import type { Prefix } from "../../../src/addr/prefix.ts";
import { forwardDropReason } from "../../../src/firewall/iptables/forward_path.ts";
import { iptablesCorrection } from "../../../src/firewall/iptables/iptables_rules.ts";
import { parseIptablesSave } from "../../../src/firewall/iptables/iptables_save.ts";
import type { FamilyRules } from "../../../src/firewall/rules/firewall_rules.ts";
import { NETWORK4, NETWORK6, rulesFor } from "./fixtures.ts";

const NAT = `*nat
:FLANNEL-POSTRTG - [0:0]
-A FLANNEL-POSTRTG -m mark --mark 0x4000/0x4000 -m comment --comment "flanneld masq" -j RETURN
-A FLANNEL-POSTRTG -s 10.5.72.0/24 -d 10.5.0.0/16 -m comment --comment "flanneld masq" -j RETURN
-A FLANNEL-POSTRTG -s 10.5.0.0/16 -d 10.5.72.0/24 -m comment --comment "flanneld masq" -j RETURN
-A FLANNEL-POSTRTG ! -s 10.5.0.0/16 -d 10.5.72.0/24 -m comment --comment "flanneld masq" -j RETURN
-A FLANNEL-POSTRTG -s 10.5.0.0/16 ! -d 224.0.0.0/4 -m comment --comment "flanneld masq" \
-j MASQUERADE --random-fully
-A FLANNEL-POSTRTG ! -s 10.5.0.0/16 -d 10.5.0.0/16 -m comment --comment "flanneld masq" \
-j MASQUERADE --random-fully
-I POSTROUTING 1 -m comment --comment "flanneld masq" -j FLANNEL-POSTRTG
COMMIT
`;
const FILTER = `*filter
:FLANNEL-FWD - [0:0]
-A FLANNEL-FWD -s 10.5.0.0/16 -m comment --comment "flanneld forward" -j ACCEPT
-A FLANNEL-FWD -d 10.5.0.0/16 -m comment --comment "flanneld forward" -j ACCEPT
-I FORWARD 1 -m comment --comment "flanneld forward" -j FLANNEL-FWD
COMMIT
`;
const JUMP = `-A FORWARD -m comment --comment "flanneld forward" -j FLANNEL-FWD`;
const MOVED = `*filter
-D FORWARD -m comment --comment "flanneld forward" -j FLANNEL-FWD
-I FORWARD 1 -m comment --comment "flanneld forward" -j FLANNEL-FWD
COMMIT
`;

/** The output of iptables-save for a table with these chains and lines. */
function saved(table: string, chains: readonly string[], lines: readonly string[]): string {
  return [`*${table}`, ...chains.map((chain) => `:${chain} - [0:0]`), ...lines, "COMMIT", ""]
    .join("\n");
}

/** The output of iptables-save with our rules installed and with `forward` as all of FORWARD. */
function installed(forward: readonly string[], otherChains: readonly string[] = []): string {
  const rules = (text: string) => text.split("\n").filter((line) => line.startsWith("-A "));
  return saved("nat", ["POSTROUTING", "FLANNEL-POSTRTG"], [
    ...rules(NAT),
    `-A POSTROUTING -m comment --comment "flanneld masq" -j FLANNEL-POSTRTG`,
  ]) + saved("filter", ["FORWARD", "FLANNEL-FWD", ...otherChains], [...forward, ...rules(FILTER)]);
}

function correction(
  save: string,
  rules: FamilyRules | undefined = rulesFor()[4],
  networks: readonly Prefix[] = [NETWORK4],
): string | undefined {
  return iptablesCorrection({ state: parseIptablesSave(save).tables, rules, networks });
}

test("empty tables get both chains, their rules, and a jump atop each built-in chain", () => {
  expect(correction("")).toBe(NAT + FILTER);
});

test("IPv6 rules are spelled like IPv4 rules", () => {
  const text = iptablesCorrection({ state: new Map(), rules: rulesFor()[6], networks: [NETWORK6] });
  expect(text).toContain(
    `-A FLANNEL-POSTRTG -s 2001:cafe:42::/56 ! -d ff00::/8 -m comment --comment "flanneld ` +
      `masq" -j MASQUERADE --random-fully\n`,
  );
});

test("installed rules need no correction", () => {
  expect(correction(installed([JUMP]))).toBeUndefined();
});

test("a chain of ours with a missing rule is refilled; the other table is not changed", () => {
  const save = installed([JUMP]).replace(/^-A FLANNEL-FWD -d .*\n/m, "");
  expect(correction(save)).toBe(
    FILTER.split("\n").filter((line) => !line.startsWith("-I")).join("\n"),
  );
});

test("rules of ours in the wrong order are reordered", () => {
  const save = installed([JUMP]).replace(
    /(-A FLANNEL-FWD -s .*\n)(-A FLANNEL-FWD -d .*\n)/,
    "$2$1",
  );
  expect(correction(save)).toContain("*filter\n:FLANNEL-FWD - [0:0]\n-A FLANNEL-FWD -s");
});

test("a rule that another program added to our chain is removed", () => {
  const tampered = installed([JUMP]).replace(
    /-A FLANNEL-FWD -s/,
    "-A FLANNEL-FWD -j DROP\n-A FLANNEL-FWD -s",
  );
  expect(correction(tampered)).toStartWith("*filter\n:FLANNEL-FWD - [0:0]\n");
});

test("a missing jump is added at the top", () => {
  expect(correction(installed([]))).toBe(
    `*filter\n-I FORWARD 1 -m comment --comment "flanneld forward" -j FLANNEL-FWD\nCOMMIT\n`,
  );
});

test("duplicate jumps are removed", () => {
  expect(correction(installed([JUMP, JUMP]))).toBe(
    MOVED.replace("-D", MOVED.split("\n")[1] + "\n-D"),
  );
});

const REFUSING: Record<string, string[]> = {
  "firewalld's REJECT": ["-A FORWARD -j REJECT --reject-with icmp-host-prohibited"],
  "a DROP with a comment": [`-A FORWARD -m comment --comment "no \\"-j ACCEPT\\" here" -j DROP`],
  "a DROP of a wider network": ["-A FORWARD -s 10.0.0.0/8 -j DROP"],
  "a REJECT of all but another network": ["-A FORWARD ! -s 192.168.0.0/16 -j REJECT"],
  "a DROP of new connections": ["-A FORWARD -m conntrack --ctstate INVALID,NEW -j DROP"],
  "a REJECT in a chain that everything goes through": [
    "-A FORWARD -j ufw-reject-forward",
    "-A ufw-reject-forward -j REJECT --reject-with icmp-port-unreachable",
  ],
};

for (const [name, lines] of Object.entries(REFUSING)) {
  test(`the jump moves ahead of ${name}`, () => {
    const save = installed([...lines, JUMP], ["ufw-reject-forward"]);
    expect(correction(save)).toBe(MOVED);
  });
}

const HARMLESS: Record<string, string[]> = {
  "Docker's jump to the administrator's chain": [
    "-A FORWARD -j DOCKER-USER",
    "-A DOCKER-USER -j DROP",
  ],
  "a chain that refuses other traffic": [
    "-A FORWARD -j DOCKER-ISOLATION-STAGE-1",
    "-A DOCKER-ISOLATION-STAGE-1 -i docker0 ! -o docker0 -j DROP",
    "-A DOCKER-ISOLATION-STAGE-1 -j RETURN",
    "-A DOCKER-ISOLATION-STAGE-1 -j DROP",
  ],
  "a DROP on one interface": ["-A FORWARD -i eth1 -j DROP"],
  "a DROP of one workload": ["-A FORWARD -s 10.5.9.9/32 -j DROP"],
  "a DROP of our whole network": ["-A FORWARD -d 10.5.0.0/16 -j DROP"],
  "a DROP from another network": ["-A FORWARD -s 172.17.0.0/16 -j DROP"],
  "a DROP of one port": ["-A FORWARD -p tcp -m tcp --dport 25 -j DROP"],
  "a DROP of connection attempts": [
    "-A FORWARD -p tcp -m tcp --tcp-flags FIN,SYN,RST,ACK SYN -j DROP",
  ],
  "a DROP of invalid packets": ["-A FORWARD -m conntrack --ctstate INVALID -j DROP"],
  "a REJECT behind an ACCEPT of everything": ["-A FORWARD -j ACCEPT", "-A FORWARD -j REJECT"],
};

for (const [name, lines] of Object.entries(HARMLESS)) {
  test(`the jump stays behind ${name}`, () => {
    const save = installed([...lines, JUMP], ["DOCKER-USER", "DOCKER-ISOLATION-STAGE-1"]);
    expect(correction(save)).toBeUndefined();
  });
}

test("chains that call each other do not hang the search for a drop", () => {
  const loop = ["-A FORWARD -j A", "-A A -j B", "-A B -j A", JUMP];
  expect(correction(installed(loop, ["A", "B"]))).toBeUndefined();
});

test("a chain that is called repeatedly is searched once", () => {
  const names = Array.from({ length: 14 }, (_, index) => `C${index}`);
  const calls = names.flatMap((name, index) =>
    new Array<string>(30).fill(`-A ${index === 0 ? "FORWARD" : names[index - 1]} -j ${name}`)
  );
  expect(correction(installed([...calls, JUMP], names))).toBeUndefined();
  expect(correction(installed([...calls, `-A C13 -j DROP`, JUMP], names))).toBe(MOVED);
});

test("the rules of Go flannel are adopted without a change", () => {
  // It appends its jumps.
  const save = installed(["-A FORWARD -j DOCKER-USER", JUMP], ["DOCKER-USER"]);
  expect(correction(save)).toBeUndefined();
});

test("a chain for a previous subnet is rewritten", () => {
  const save = installed([JUMP]).replaceAll("10.5.72.0/24", "10.5.9.0/24");
  expect(correction(save)).toBe(
    NAT.split("\n").filter((line) => !line.startsWith("-I")).join("\n"),
  );
});

test("a chain for a previous network is rewritten if that network is known", () => {
  const save = installed([JUMP]).replaceAll("10.5.", "10.77.");
  const text = correction(save, rulesFor()[4], [NETWORK4, "10.77.0.0/16" as Prefix]);
  expect(text).not.toContain("10.77.");
});

test("old versions' rules in the built-in chains are removed, other programs' are not", () => {
  const save = installed([
    JUMP,
    `-A FORWARD -s 10.5.0.0/16 -m comment --comment "flanneld forward" -j ACCEPT`,
    `-A FORWARD -s 10.9.0.0/16 -m comment --comment "flanneld forward" -j ACCEPT`,
    `-A FORWARD -d 10.5.0.0/16 -j ACCEPT`,
  ]);
  expect(correction(save)).toBe(
    `*filter\n-D FORWARD -s 10.5.0.0/16 -m comment --comment "flanneld forward" -j ` +
      `ACCEPT\nCOMMIT\n`,
  );
});

test("without rules, both chains and both jumps are removed", () => {
  const text = iptablesCorrection({
    state: parseIptablesSave(installed([JUMP])).tables,
    rules: undefined,
    networks: [NETWORK4],
  });
  expect(text).toBe(`*nat
-D POSTROUTING -m comment --comment "flanneld masq" -j FLANNEL-POSTRTG
-F FLANNEL-POSTRTG
-X FLANNEL-POSTRTG
COMMIT
*filter
-D FORWARD -m comment --comment "flanneld forward" -j FLANNEL-FWD
-F FLANNEL-FWD
-X FLANNEL-FWD
COMMIT
`);
});

test("with --ip-masq=false, only the forwarding chain remains", () => {
  const text = correction(installed([JUMP]), rulesFor({ ipMasq: false })[4]);
  expect(text).toContain("-X FLANNEL-POSTRTG");
  expect(text).not.toContain("FLANNEL-FWD");
});

test("a chain of ours that another chain still calls is flushed, not deleted", () => {
  const save = installed([JUMP, "-A MINE -j FLANNEL-FWD"], ["MINE"]);
  const text = correction(save, rulesFor({ forward: false })[4]);
  expect(text).toContain("-F FLANNEL-FWD");
  expect(text).not.toContain("-X FLANNEL-FWD");
});

test("two daemons with different networks share the chains without undoing each other", () => {
  const other = [
    `-A FLANNEL-FWD -s 10.9.0.0/16 -m comment --comment "flanneld forward" -j ACCEPT`,
    `-A FLANNEL-FWD -d 10.9.0.0/16 -m comment --comment "flanneld forward" -j ACCEPT`,
  ];
  const alone = installed([JUMP]).replace(/^-A FLANNEL-FWD .*\n/gm, "");
  const withOther = alone.replace(/(.*)COMMIT/s, `$1${other.join("\n")}\nCOMMIT`);
  const joined = FILTER.split("\n").filter((line) => !line.startsWith("-I"));
  joined.splice(-2, 0, ...other);
  expect(correction(withOther)).toBe(joined.join("\n"));

  const both = installed([JUMP, ...other]);
  expect(correction(both)).toBeUndefined();
  const left = correction(both, rulesFor({ forward: false })[4]);
  expect(left).toBe(`*filter\n:FLANNEL-FWD - [0:0]\n${other.join("\n")}\nCOMMIT\n`);
});

test("the rule for kube-proxy's mark leads our rules in a shared masquerading chain", () => {
  const other = NAT.split("\n").filter((line) => line.startsWith("-A"))
    .map((line) => line.replaceAll("10.5.", "10.9."));
  const own = installed([JUMP]);
  const shared = own.replace(
    /(-A POSTROUTING)/,
    `${other.join("\n")}\n$1`,
  );
  expect(correction(shared)).toBeUndefined();
  const unmarked = shared.replace(/^-A FLANNEL-POSTRTG -m mark.*\n/m, "");
  expect(correction(unmarked)).toContain("*nat\n:FLANNEL-POSTRTG");
});

test("in a partially known table, our chain is flushed, not deleted", () => {
  const state = parseIptablesSave(installed([JUMP])).tables;
  const [networks, partial] = [[NETWORK4], new Set(["filter"])];
  const text = iptablesCorrection({ state, rules: undefined, networks, partial });
  expect(text).toContain("-X FLANNEL-POSTRTG\n");
  expect(text).toEndWith("-j FLANNEL-FWD\n-F FLANNEL-FWD\nCOMMIT\n");
  const emptied = saved("filter", ["FORWARD", "FLANNEL-FWD"], []);
  const after = parseIptablesSave(emptied).tables;
  expect(iptablesCorrection({ state: after, rules: undefined, networks, partial })).toBeUndefined();
});

const REFUSALS: [string, string, string[], string | undefined][] = [
  ["a policy of DROP", "DROP", [], "its policy is DROP"],
  ["no rule at all", "ACCEPT", [], undefined],
  [
    "a REJECT at the end",
    "ACCEPT",
    ["-A FORWARD -i docker0 -j ACCEPT", "-A FORWARD -j REJECT"],
    'it has the rule "-j REJECT"',
  ],
  ["our network accepted", "DROP", ["-A FORWARD -s 10.5.0.0/16 -j ACCEPT"], undefined],
  ["our network sent to a chain", "DROP", ["-A FORWARD -d 10.5.0.0/16 -j FORWARD"], undefined],
  ["a wider network accepted", "DROP", ["-A FORWARD -s 10.0.0.0/8 -j ACCEPT"], undefined],
  [
    "all but another network accepted",
    "DROP",
    ["-A FORWARD ! -s 10.9.0.0/16 -j ACCEPT"],
    "its policy is DROP",
  ],
  [
    "answers accepted only",
    "DROP",
    ["-A FORWARD -m conntrack --ctstate ESTABLISHED -j ACCEPT"],
    "its policy is DROP",
  ],
];

test.each(REFUSALS)(
  "forwardDropReason() of a FORWARD with %s",
  (_name, policy, lines, expected) => {
    const { tables } = parseIptablesSave(saved("filter", ["FORWARD"], lines));
    const chains = tables.get("filter") ?? new Map<string, string[]>();
    expect(forwardDropReason({ chains, policy, network: NETWORK4 })).toBe(expected);
  },
);
