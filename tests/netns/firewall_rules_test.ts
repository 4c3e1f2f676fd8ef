/** The rules in the kernel, in both modes: installed, adopted, switched, shared. */

import { describe, expect, test } from "bun:test";
import type { Prefix } from "../../src/addr/prefix.ts";
import type { IptablesPrograms } from "../../src/firewall/iptables/iptables_programs.ts";
import { NETWORK4, rulesFor, SUBNET4 } from "../unit/firewall/fixtures.ts";
import { eventually, throughout } from "../support/wait.ts";
import { Namespace } from "../support/network_namespace.ts";
import { Driver } from "./firewall_support.ts";

const MASQUERADE = '-m comment --comment "flanneld masq" -j MASQUERADE --random-fully';
const IPTABLES_NAT = `*nat
:PREROUTING ACCEPT [0:0]
:INPUT ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
:POSTROUTING ACCEPT [0:0]
:FLANNEL-POSTRTG - [0:0]
-A POSTROUTING -m comment --comment "flanneld masq" -j FLANNEL-POSTRTG
-A FLANNEL-POSTRTG -m mark --mark 0x4000/0x4000 -m comment --comment "flanneld masq" -j RETURN
-A FLANNEL-POSTRTG -s 10.5.72.0/24 -d 10.5.0.0/16 -m comment --comment "flanneld masq" -j RETURN
-A FLANNEL-POSTRTG -s 10.5.0.0/16 -d 10.5.72.0/24 -m comment --comment "flanneld masq" -j RETURN
-A FLANNEL-POSTRTG ! -s 10.5.0.0/16 -d 10.5.72.0/24 -m comment --comment "flanneld masq" -j RETURN
-A FLANNEL-POSTRTG -s 10.5.0.0/16 ! -d 224.0.0.0/4 ${MASQUERADE}
-A FLANNEL-POSTRTG ! -s 10.5.0.0/16 -d 10.5.0.0/16 ${MASQUERADE}
COMMIT`;
const IPTABLES_FILTER = `*filter
:INPUT ACCEPT [0:0]
:FORWARD ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
:FLANNEL-FWD - [0:0]
-A FORWARD -m comment --comment "flanneld forward" -j FLANNEL-FWD
-A FLANNEL-FWD -s 10.5.0.0/16 -m comment --comment "flanneld forward" -j ACCEPT
-A FLANNEL-FWD -d 10.5.0.0/16 -m comment --comment "flanneld forward" -j ACCEPT
COMMIT`;
const NFT = `table ip flannel-ipv4 {
	chain postrtg {
		type nat hook postrouting priority srcnat; policy accept;
		meta mark & 0x00004000 == 0x00004000 return comment "flanneld masq"
		ip saddr 10.5.72.0/24 ip daddr 10.5.0.0/16 return comment "flanneld masq"
		ip saddr 10.5.0.0/16 ip daddr 10.5.72.0/24 return comment "flanneld masq"
		ip saddr != 10.5.0.0/16 ip daddr 10.5.72.0/24 return comment "flanneld masq"
		ip saddr 10.5.0.0/16 ip daddr != 224.0.0.0/4 masquerade fully-random comment "flanneld masq"
		ip saddr != 10.5.0.0/16 ip daddr 10.5.0.0/16 masquerade fully-random comment "flanneld masq"
	}

	chain forward {
		type filter hook forward priority filter; policy accept;
		ip saddr 10.5.0.0/16 accept comment "flanneld forward"
		ip daddr 10.5.0.0/16 accept comment "flanneld forward"
	}
}
`;

/** The IPv6 counterpart of a golden text. */
function ipv6(text: string): string {
  return text.replaceAll("10.5.72.0/24", "2001:cafe:42:1::/64")
    .replaceAll("10.5.0.0/16", "2001:cafe:42::/56")
    .replaceAll("224.0.0.0/4", "ff00::/8")
    .replaceAll(/\bip ([sd]addr|flannel)/g, "ip6 $1")
    .replaceAll("flannel-ipv4", "flannel-ipv6");
}

const VARIANTS: Record<string, IptablesPrograms> = {
  nft: {
    4: { save: "iptables-nft-save", restore: "iptables-nft-restore" },
    6: { save: "ip6tables-nft-save", restore: "ip6tables-nft-restore" },
  },
  legacy: {
    4: { save: "iptables-legacy-save", restore: "iptables-legacy-restore" },
    6: { save: "ip6tables-legacy-save", restore: "ip6tables-legacy-restore" },
  },
};

describe.each(Object.entries(VARIANTS))("iptables, the %s kind,", (_name, programs) => {
  test("holds exactly the rules of both families", async () => {
    await using namespace = await Namespace.create();
    await using driver = await Driver.start(namespace, { programs }, rulesFor());
    expect(driver.first).toMatchObject({ isInSync: true });
    expect(await namespace.iptables("nat", programs[4].save)).toBe(IPTABLES_NAT);
    expect(await namespace.iptables("filter", programs[4].save)).toBe(IPTABLES_FILTER);
    expect(await namespace.iptables("nat", programs[6].save)).toBe(ipv6(IPTABLES_NAT));
    expect(await namespace.iptables("filter", programs[6].save)).toBe(ipv6(IPTABLES_FILTER));
  });

  test("keeps the rules when the daemon ends, and a restart only checks them", async () => {
    await using namespace = await Namespace.create();
    await using first = await Driver.start(namespace, { programs }, rulesFor());
    // --version, and for each family: save, a check of each missing table, restore, save
    expect(first.first.processStarts).toBe(11);
    await first.stop();
    expect(await namespace.iptables("filter", programs[4].save)).toBe(IPTABLES_FILTER);
    await using second = await Driver.start(namespace, { programs }, rulesFor());
    expect(second.first.processStarts).toBe(3); // --version, and one save for each family
  });

  test("loses our chains with --ip-masq=false and --iptables-forward-rules=false", async () => {
    await using namespace = await Namespace.create();
    await using driver = await Driver.start(namespace, { programs }, rulesFor());
    await driver.set(rulesFor({ ipMasq: false }));
    expect(await namespace.iptables("nat", programs[4].save)).not.toContain("FLANNEL");
    expect(await namespace.iptables("filter", programs[4].save)).toBe(IPTABLES_FILTER);
    await driver.set(rulesFor({ ipMasq: false, forward: false }));
    expect(await namespace.sh(`${programs[4].save}; ${programs[6].save}`)).not.toContain("FLANNEL");
  });

  test("follows a changed subnet and a previous network", async () => {
    await using namespace = await Namespace.create();
    const families = { 4: { network: "10.77.0.0/16" as Prefix, subnet: "10.77.1.0/24" as Prefix } };
    await using before = await Driver.start(namespace, { programs }, rulesFor({ families }));
    await before.stop();
    const previousNetworks = ["10.77.0.0/16" as Prefix];
    await using after = await Driver.start(namespace, { programs, previousNetworks }, rulesFor());
    expect(await namespace.iptables("nat", programs[4].save)).toBe(IPTABLES_NAT);
    await after.set(rulesFor({
      families: { 4: { network: NETWORK4, subnet: "10.5.9.0/24" as Prefix } },
    }));
    const moved = IPTABLES_NAT.replaceAll(SUBNET4, "10.5.9.0/24");
    expect(await namespace.iptables("nat", programs[4].save)).toBe(moved);
  });

  test("adopts the rules of Go flannel, and removes those of its old versions", async () => {
    await using namespace = await Namespace.create();
    const go = (table: string, parent: string, text: string) => {
      const rules = text.split("\n").filter((line) => line.startsWith("-A FLANNEL")).join("\n");
      const comment = table === "nat" ? "flanneld masq" : "flanneld forward";
      const chain = table === "nat" ? "FLANNEL-POSTRTG" : "FLANNEL-FWD";
      return `*${table}\n:${chain} - [0:0]\n` +
        `-A ${parent} -m comment --comment "${comment}" -j ${chain}\n${rules}\nCOMMIT\n`;
    };
    await namespace.sh(
      `${programs[4].restore} --noflush <<'END'\n` +
        go("nat", "POSTROUTING", IPTABLES_NAT) + go("filter", "FORWARD", IPTABLES_FILTER) +
        `*filter\n-A FORWARD -s 10.5.0.0/16 -m comment --comment "flanneld forward" -j ACCEPT\n` +
        "COMMIT\nEND\n",
    );
    const families = { 4: { network: NETWORK4, subnet: SUBNET4 } };
    await using _driver = await Driver.start(namespace, { programs }, rulesFor({ families }));
    expect(await namespace.iptables("nat", programs[4].save)).toBe(IPTABLES_NAT);
    expect(await namespace.iptables("filter", programs[4].save)).toBe(IPTABLES_FILTER);
  });

  test("does not change the rules of other programs, byte for byte", async () => {
    await using namespace = await Namespace.create();
    const quoted = '-m comment --comment "a \\"quoted\\" one"';
    await namespace.sh(`${programs[4].restore} <<'END'
*nat
:DOCKER - [0:0]
-A POSTROUTING -s 172.17.0.0/16 ! -o docker0 -j MASQUERADE
-A DOCKER -i docker0 -j RETURN
COMMIT
*filter
:FORWARD DROP [0:0]
:DOCKER-USER - [0:0]
-A FORWARD -j DOCKER-USER
-A FORWARD -m conntrack --ctstate RELATED,ESTABLISHED ${quoted} -j ACCEPT
-A FORWARD -j REJECT --reject-with icmp-host-prohibited
COMMIT
END`);
    const others = async () => {
      const text = await namespace.iptables("nat", programs[4].save) +
        await namespace.iptables("filter", programs[4].save);
      return text.split("\n").filter((line) => !/FLANNEL/.test(line)).join("\n");
    };
    const before = await others();
    await using driver = await Driver.start(namespace, { programs }, rulesFor());
    expect(await others()).toBe(before);
    await driver.set(rulesFor({ ipMasq: false, forward: false }));
    expect(await others()).toBe(before);
  });
});

describe("nftables", () => {
  test("holds exactly the rules of both families", async () => {
    await using namespace = await Namespace.create();
    await using _driver = await Driver.start(namespace, { mode: "nftables" }, rulesFor());
    expect(await namespace.sh("nft list table ip flannel-ipv4")).toBe(NFT);
    expect(await namespace.sh("nft list table ip6 flannel-ipv6")).toBe(ipv6(NFT));
  });

  test("keeps the rules when the daemon ends, and a restart sends nothing", async () => {
    await using namespace = await Namespace.create();
    await using first = await Driver.start(namespace, { mode: "nftables" }, rulesFor());
    await first.stop();
    const generation = () => namespace.sh("nft -a list ruleset");
    const before = await generation();
    await using _second = await Driver.start(namespace, { mode: "nftables" }, rulesFor());
    expect(await generation()).toBe(before); // new rules would have other handles
  });

  test("loses our chains and tables with the flags", async () => {
    await using namespace = await Namespace.create();
    await using driver = await Driver.start(namespace, { mode: "nftables" }, rulesFor());
    await driver.set(rulesFor({ ipMasq: false }));
    expect(await namespace.sh("nft list ruleset")).not.toContain("postrtg");
    await driver.set(rulesFor({ ipMasq: false, forward: false }));
    expect(await namespace.sh("nft list ruleset")).toBe("");
  });

  test("corrects the rules of Go flannel, in one transaction", async () => {
    await using namespace = await Namespace.create();
    const hookNat = "type nat hook postrouting priority 100; " +
      'comment "chain to manage traffic masquerading by flannel";';
    const masquerade = "masquerade fully-random";
    const hookForward = "type filter hook forward priority 0; " +
      'comment "chain to accept flannel traffic";';
    await namespace.sh(`nft -f - <<'END'
add table ip flannel-ipv4 { comment "rules for flannel-ipv4"; }
add table ip6 flannel-ipv6 { comment "rules for flannel-ipv6"; }
add chain ip flannel-ipv4 postrtg { ${hookNat} }
add rule ip flannel-ipv4 postrtg meta mark 0x4000 return
add rule ip flannel-ipv4 postrtg ip saddr 10.5.72.0/24 ip daddr 10.5.0.0/16 return
add rule ip flannel-ipv4 postrtg ip saddr 10.5.0.0/16 ip daddr 10.5.72.0/24 return
add rule ip flannel-ipv4 postrtg ip saddr != 10.5.72.0/24 ip daddr 10.5.0.0/16 return
add rule ip flannel-ipv4 postrtg ip saddr 10.5.0.0/16 ip daddr != 224.0.0.0/4 ${masquerade}
add rule ip flannel-ipv4 postrtg ip saddr != 10.5.0.0/16 ip daddr 10.5.0.0/16 ${masquerade}
add chain ip flannel-ipv4 forward { ${hookForward} }
add rule ip flannel-ipv4 forward ip saddr 10.5.0.0/16 accept
add rule ip flannel-ipv4 forward ip daddr 10.5.0.0/16 accept
END`);
    const families = { 4: { network: NETWORK4, subnet: SUBNET4 } };
    const rules = rulesFor({ families });
    await using _driver = await Driver.start(namespace, { mode: "nftables" }, rules);
    const text = await namespace.sh("nft list ruleset");
    const [, postrouting] = NFT.match(/(chain postrtg[^}]*})/) ?? [];
    const withoutComments = text.replaceAll(/\n\t\tcomment "[^"]*"/g, "");
    expect(withoutComments).toContain(postrouting as string);
    // The forwarding rules were correct.
    expect(withoutComments).toContain("ip daddr 10.5.0.0/16 accept\n");
    expect(text).not.toContain("flannel-ipv6"); // empty, and of a family that is not in use
  });

  test("works with the program nft if libnftables is missing", async () => {
    await using namespace = await Namespace.create();
    const options = { mode: "nftables", withoutLibnftables: true } as const;
    await using driver = await Driver.start(namespace, options, rulesFor());
    expect(driver.first).toMatchObject({ isInSync: true });
    expect(await namespace.sh("nft list table ip flannel-ipv4")).toBe(NFT);
    expect(await driver.stop()).toContain("nftables (nft)");
  });
});

/** Rules that nft adds to iptables' tables, and that iptables shows wrongly or not at all. */
const FOREIGN: Record<string, string> = {
  "omits": "nft add rule ip filter FORWARD ct mark set 1",
  "stops in": "nft add rule ip filter FORWARD meta mark set 5",
};

describe("a table that iptables-save", () => {
  const jumps = async (namespace: Namespace) =>
    (await namespace.sh("nft list chain ip filter FORWARD")).match(/jump FLANNEL-FWD/g)?.length;
  const accepts = async (namespace: Namespace) =>
    (await namespace.sh("iptables -S FLANNEL-FWD")).match(/-j ACCEPT/g)?.length;

  test.each(Object.entries(FOREIGN))("%s gets our rules once", async (_name, script) => {
    await using namespace = await Namespace.create();
    await namespace.sh(`iptables -P FORWARD ACCEPT; ${script}`);
    for (const _run of ["first", "second"]) {
      await using driver = await Driver.start(namespace, { resyncMs: 1000 }, rulesFor());
      const { isInSync, problem } = driver.first;
      expect(isInSync).toBe(false);
      expect(problem).toStartWith("IPv4 iptables cannot show the table filter (");
      expect(problem).toContain("nft list table ip filter");
      expect(problem).toContain("set EnableNFTables");
      expect(await jumps(namespace)).toBe(1);
      expect(await accepts(namespace)).toBe(2);
      // The other table and the other family are in sync.
      expect(await namespace.sh("iptables-save -t nat")).toContain("-j FLANNEL-POSTRTG");
      expect(await namespace.iptables("filter", "ip6tables-save")).toBe(ipv6(IPTABLES_FILTER));
      const before = (await driver.stats()).processStarts;
      await eventually(
        "it checks again",
        30_000,
        async () => (await driver.stats()).processStarts > before,
      );
      await namespace.sh("iptables -F FLANNEL-FWD; iptables -F FLANNEL-POSTRTG -t nat");
      await eventually(
        "our rules are restored",
        30_000,
        async () => await accepts(namespace) === 2,
      );
      expect(await jumps(namespace)).toBe(1);
    }
    await using driver = await Driver.start(namespace, { resyncMs: 3_600_000 }, rulesFor());
    await namespace.sh(
      "nft delete rule ip filter FORWARD handle " +
        "$(nft -a list chain ip filter FORWARD | sed -n 's/.*mark set.*# handle //p')",
    );
    await eventually("it is in sync", 30_000, async () => (await driver.stats()).isInSync);
    expect(await namespace.iptables("filter")).toBe(IPTABLES_FILTER);
  }, 120_000);

  test("omits for IPv6 does not affect IPv4", async () => {
    await using namespace = await Namespace.create();
    await namespace.sh(
      "ip6tables -P FORWARD ACCEPT; nft add rule ip6 filter FORWARD ct mark set 1",
    );
    await using driver = await Driver.start(namespace, {}, rulesFor());
    expect(driver.first.problem).toStartWith("IPv6 iptables cannot show the table filter (");
    expect(driver.first.problem).toContain("nft list table ip6 filter");
    expect(driver.first.problem).not.toContain("IPv4");
    expect(await namespace.iptables("filter")).toBe(IPTABLES_FILTER);
    const chain = await namespace.sh("nft list chain ip6 filter FORWARD");
    expect(chain.match(/jump FLANNEL-FWD/g)).toHaveLength(1);
  });

  test("stops in before our jump keeps that one jump", async () => {
    await using namespace = await Namespace.create();
    await using first = await Driver.start(namespace, {}, rulesFor());
    await first.stop();
    await namespace.sh("nft insert rule ip filter FORWARD meta mark set 5");
    await using driver = await Driver.start(namespace, {}, rulesFor());
    expect(driver.first.problem).toContain("flanneld's rules are installed");
    expect(await jumps(namespace)).toBe(1);
    await namespace.sh("iptables -F FLANNEL-FWD");
    await eventually("our rules are restored", 30_000, async () => await accepts(namespace) === 2);
    expect(await jumps(namespace)).toBe(1);
  });

  test("shows without a set's condition stays before our jump", async () => {
    await using namespace = await Namespace.create();
    await using first = await Driver.start(namespace, {}, rulesFor());
    await first.stop();
    await namespace.sh(
      "nft add set ip filter blocked '{ type ipv4_addr; }'; " +
        "nft insert rule ip filter FORWARD ip saddr @blocked drop",
    );
    expect(await namespace.iptables("filter")).toContain("-A FORWARD -j DROP\n");
    await using driver = await Driver.start(namespace, {}, rulesFor());
    expect(driver.first).toMatchObject({ isInSync: true });
    expect(await namespace.sh("nft list chain ip filter FORWARD | sed -n 4p")).toContain(
      "@blocked drop",
    );
    // A DROP of everything is different.
    await namespace.sh("nft flush chain ip filter FORWARD; iptables -A FORWARD -j DROP");
    await eventually(
      "the jump is first",
      30_000,
      async () =>
        (await namespace.sh("iptables -S FORWARD | sed -n 2p")).includes("-j FLANNEL-FWD"),
    );
  });

  test("stops in does not matter if it is none of ours", async () => {
    await using namespace = await Namespace.create();
    await namespace.sh(
      "iptables -t mangle -P FORWARD ACCEPT; nft add rule ip mangle FORWARD meta mark set 5",
    );
    await using driver = await Driver.start(namespace, {}, rulesFor());
    expect(driver.first).toMatchObject({ isInSync: true });
    expect(await namespace.iptables("filter")).toBe(IPTABLES_FILTER);
    expect(await namespace.iptables("nat")).toBe(IPTABLES_NAT);
  });

  test("omits loses our rules when the mode changes", async () => {
    await using namespace = await Namespace.create();
    await using iptables = await Driver.start(namespace, {}, rulesFor());
    await iptables.stop();
    await namespace.sh(FOREIGN["omits"] as string);
    await using driver = await Driver.start(namespace, { mode: "nftables" }, rulesFor());
    expect(driver.first).toMatchObject({ isInSync: true });
    expect(await jumps(namespace)).toBeUndefined();
    expect(await accepts(namespace)).toBeUndefined();
    expect(await namespace.sh("iptables-save -t nat")).not.toContain("FLANNEL");
  });
});

describe("another firewall that drops forwarded packets is reported once:", () => {
  const legacy = VARIANTS["legacy"] as IptablesPrograms;
  test.each(
    [
      ["iptables-legacy, with ours in iptables on nftables", {}, {
        refuse: "iptables-legacy -P FORWARD DROP",
        text: "iptables-legacy drops forwarded packets in its chain FORWARD (its policy is DROP)",
        allow: "iptables-legacy -A FORWARD -s 10.5.0.0/16 -j ACCEPT",
      }],
      ["ip6tables-legacy, with ours in nftables", { mode: "nftables" }, {
        refuse: "ip6tables-legacy -A FORWARD -j REJECT",
        text: "ip6tables-legacy drops forwarded packets in its chain FORWARD (it has the rule " +
          '"-j REJECT --reject-with icmp6-port-unreachable")',
        allow: "ip6tables-legacy -F FORWARD",
      }],
      ["nftables, with ours in iptables-legacy", { programs: legacy }, {
        refuse: "nft add table ip6 other; nft add chain ip6 other forwarded " +
          "'{ type filter hook forward priority 0; policy drop; }'",
        text:
          "nftables drops forwarded IPv6 packets in the chain forwarded of the table ip6 other " +
          "(its policy is drop)",
        allow: "nft add rule ip6 other forwarded ip6 saddr 2001:cafe:42::/56 accept",
      }],
      ["iptables on nftables, with ours in nftables", { mode: "nftables" }, {
        refuse: "iptables -P FORWARD DROP",
        text: "nftables drops forwarded IPv4 packets in the chain FORWARD of the table ip filter " +
          "(its policy is drop)",
        allow: "iptables -P FORWARD ACCEPT",
      }],
      ["another table, with ours in iptables on nftables", {}, {
        refuse: "nft add table ip other; " +
          "nft add chain ip other forwarded '{ type filter hook forward priority 0; }'; " +
          "nft add rule ip other forwarded counter drop",
        text:
          "nftables drops forwarded IPv4 packets in the chain forwarded of the table ip other " +
          "(a rule drops every packet)",
        allow: "nft delete table ip other",
      }],
    ] as const,
  )("%s", async (_name, options, { refuse, text, allow }) => {
    await using namespace = await Namespace.create();
    await namespace.sh(refuse);
    await using driver = await Driver.start(
      namespace,
      { ...options, otherFirewallsCheckMs: 300 },
      rulesFor(),
    );
    await eventually("a warning is logged", 30_000, () => driver.log().includes(text));
    await namespace.sh(allow);
    const end = "no other firewall of this host drops forwarded packets of the network any longer";
    await eventually("the end is logged", 30_000, () => driver.log().includes(end));
    expect(driver.log().match(/^W.*drops/gm)).toHaveLength(1);
  });

  test("checks create no legacy table", async () => {
    await using namespace = await Namespace.create();
    await using driver = await Driver.start(namespace, { otherFirewallsCheckMs: 100 }, rulesFor());
    await namespace.sh("nft add table ip other");
    await Bun.sleep(1_000);
    expect(await driver.stop()).not.toContain("drops");
    expect(await namespace.sh("cat /proc/net/ip_tables_names /proc/net/ip6_tables_names")).toBe("");
  });
});

test("a change of mode removes the other mode's rules once ours are installed", async () => {
  await using namespace = await Namespace.create();
  await using iptables = await Driver.start(namespace, { mode: "iptables" }, rulesFor());
  await iptables.stop();
  await namespace.sh("iptables -A INPUT -p tcp --dport 22 -j ACCEPT");
  await using nftables = await Driver.start(namespace, { mode: "nftables" }, rulesFor());
  const saved = await namespace.sh("iptables-save; ip6tables-save");
  expect(saved).not.toContain("FLANNEL");
  expect(saved).toContain("--dport 22");
  expect(await namespace.sh("nft list table ip flannel-ipv4")).toBe(NFT);
  await nftables.stop();
  await using _again = await Driver.start(namespace, { mode: "iptables" }, rulesFor());
  expect(await namespace.sh("nft list tables")).not.toContain("flannel");
  expect(await namespace.iptables("nat")).toBe(IPTABLES_NAT);
});

test.each(["iptables", "nftables"] as const)(
  "two daemons for two networks share the chains of %s",
  async (mode) => {
    await using namespace = await Namespace.create();
    const families = { 4: { network: "10.9.0.0/16" as Prefix, subnet: "10.9.1.0/24" as Prefix } };
    await using first = await Driver.start(namespace, { mode }, rulesFor());
    await using second = await Driver.start(namespace, { mode }, rulesFor({ families }));
    const list = () => namespace.sh(mode === "iptables" ? "iptables-save" : "nft -a list ruleset");
    const both = (await list()).replaceAll(/^#.*$/gm, "");
    expect(both).toContain("10.5.0.0/16");
    expect(both).toContain("10.9.0.0/16");
    const starts = async () =>
      (await first.stats()).processStarts + (await second.stats()).processStarts;
    let settled: number;
    do {
      settled = await starts();
      // They check after each other's changes, and find nothing to repair.
      for (const driver of [first, second]) await driver.quiet();
    } while (await starts() !== settled);
    await throughout(
      "the rules stay as they are",
      1_000,
      async () => (await list()).replaceAll(/^#.*$/gm, "") === both,
    );
    expect(await starts()).toBe(settled);
    await first.set(rulesFor({ ipMasq: false, forward: false }));
    const rest = await list();
    expect(rest).not.toContain("10.5.0.0/16");
    expect(rest).toContain("10.9.0.0/16");
  },
  120_000,
);

test("a missing iptables is reported with its package", async () => {
  await using namespace = await Namespace.create();
  const programs = {
    4: { save: "/nowhere/iptables-save", restore: "/nowhere/iptables-restore" },
    6: VARIANTS["nft"]?.[6] as IptablesPrograms[6],
  };
  await using driver = await Driver.start(namespace, { programs });
  expect(driver.first.failure).toBe(
    "FirewallError: cannot use iptables: cannot run /nowhere/iptables-save: " +
      "there is no such program (Debian package iptables)",
  );
});

test("missing libnftables and nft are reported with their packages", async () => {
  await using namespace = await Namespace.create();
  const options = { mode: "nftables", withoutLibnftables: true, nft: "/nowhere/nft" } as const;
  await using driver = await Driver.start(namespace, options);
  expect(driver.first.failure).toStartWith(
    "FirewallError: cannot use nftables: neither libnftables (Debian package " +
      "libnftables1) nor nft (package nftables) is installed: ",
  );
});

test("a held xtables lock is waited for and reported", async () => {
  await using namespace = await Namespace.create();
  const programs = VARIANTS["legacy"] as IptablesPrograms;
  const lock = "/run/xtables.lock";
  const holder = Bun.spawn(["flock", "--no-fork", lock, "sleep", "100"]);
  try {
    const isHeld = () => !Bun.spawnSync(["flock", "--nonblock", lock, "true"]).success;
    await eventually("the lock is held", 30_000, isHeld);
    await using driver = await Driver.start(namespace, { programs });
    const answer = driver.set(rulesFor());
    await eventually(
      "it is reported",
      30_000,
      () => driver.log().includes("another program has held the xtables lock for more than 5 s"),
    );
    holder.kill();
    await answer;
    await eventually(
      "the rules are installed",
      30_000,
      async () => (await driver.stats()).isInSync,
    );
    expect(await driver.stop()).toContain("works again");
  } finally {
    holder.kill();
  }
}, 120_000);
