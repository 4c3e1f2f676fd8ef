/** Firewall rules when a host changes the program, the mode, or both. */

import { describe, expect, test } from "bun:test";
import { eventually } from "../support/wait.ts";
import { type Kind, MixedCluster, type MixedHost } from "./mixed_cluster.ts";

type Mode = "iptables" | "nftables";

interface Change {
  readonly from: readonly [Kind, Mode];
  readonly to: readonly [Kind, Mode];
}

/**
 * Every change that ends with ours, and those to Go that its own clean-up can handle. (Go does
 * not remove the chains of the iptables mode: it tries to delete them while POSTROUTING still jumps
 * to them, and looks for FLANNEL-FWD in the wrong table.)
 */
const CHANGES: readonly Change[] = [
  { from: ["Go", "iptables"], to: ["ours", "iptables"] },
  { from: ["Go", "iptables"], to: ["ours", "nftables"] },
  { from: ["Go", "nftables"], to: ["ours", "nftables"] },
  { from: ["Go", "nftables"], to: ["ours", "iptables"] },
  { from: ["ours", "iptables"], to: ["ours", "nftables"] },
  { from: ["ours", "nftables"], to: ["ours", "iptables"] },
  { from: ["ours", "iptables"], to: ["Go", "iptables"] },
  { from: ["ours", "nftables"], to: ["Go", "nftables"] },
  { from: ["ours", "nftables"], to: ["Go", "iptables"] },
];

describe.each(CHANGES.map((change) => [nameOf(change), change] as const))("%s", (_, change) => {
  test("only the new mode's rules are there, each once", async () => {
    const [[oldKind, oldMode], [newKind, newMode]] = [change.from, change.to];
    await using cluster = await MixedCluster.start({
      kinds: [oldKind, "ours"],
      families: [4, 6],
      backend: { Type: "vxlan" },
      enableNftables: oldMode === "nftables",
    });
    const host = cluster.hosts[0] as MixedHost;
    await expectRules(host, oldMode);
    await cluster.configure({ enableNftables: newMode === "nftables" });
    await host.replaceBy(newKind);
    await expectRules(host, newMode);
    // The periodic check (every 5 s, iptables only) adds no rule.
    await Bun.sleep(newMode === "iptables" ? 6_000 : 500);
    expect(await rules(host)).toEqual(RULES[newMode]);
    expect(await cluster.unanswered()).toEqual([]);
  }, 900_000);
});

function nameOf({ from, to }: Change): string {
  return `from ${from[0]} with ${from[1]} to ${to[0]} with ${to[1]}`;
}

/** How many rules of flannel each table holds; the chains, and the jumps to them. */
interface RuleCounts {
  readonly iptables: readonly string[];
  readonly ip6tables: readonly string[];
  readonly nftables: readonly string[];
}

const IPTABLES = [
  "FLANNEL-FWD: 2 rules, 1 jump",
  "FLANNEL-POSTRTG: 6 rules, 1 jump",
];

const RULES: Readonly<Record<Mode, RuleCounts>> = {
  iptables: { iptables: IPTABLES, ip6tables: IPTABLES, nftables: [] },
  nftables: { iptables: [], ip6tables: [], nftables: ["flannel-ipv4: 8", "flannel-ipv6: 8"] },
};

async function expectRules(host: MixedHost, mode: Mode): Promise<void> {
  await eventually(`the rules of ${mode} are there`, 30_000, async () => {
    expect(await rules(host)).toEqual(RULES[mode]);
    return true;
  });
}

async function rules(host: MixedHost): Promise<RuleCounts> {
  return {
    iptables: chains(await host.host.sh("iptables-save")),
    ip6tables: chains(await host.host.sh("ip6tables-save")),
    nftables: await tables(host),
  };
}

function chains(saved: string): string[] {
  const names = [...saved.matchAll(/^:(FLANNEL-\S+)/gm)].map(([, name]) => name ?? "");
  const count = (pattern: string) => [...saved.matchAll(new RegExp(pattern, "gm"))].length;
  return names.sort().map((name) => {
    const [inside, jumps] = [count(`^-A ${name} `), count(`-j ${name}$`)];
    return `${name}: ${inside} rules, ${jumps} jump${jumps === 1 ? "" : "s"}`;
  });
}

/** Tables of flannel with the number of their rules. */
async function tables(host: MixedHost): Promise<string[]> {
  const listed = JSON.parse(await host.host.sh("nft -j list ruleset")) as {
    nftables: readonly { table?: { name: string }; rule?: { table: string } }[];
  };
  const names = listed.nftables.flatMap(({ table }) => table?.name ?? [])
    .filter((name) => name.startsWith("flannel-"));
  return names.sort().map((name) =>
    `${name}: ${listed.nftables.filter(({ rule }) => rule?.table === name).length}`
  );
}
