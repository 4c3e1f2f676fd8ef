/**
 * The rules in nftables: compares a table with the desired rules, and computes the commands
 * (nft(8)) that correct the difference in one transaction.
 *
 * The chains are separate base chains: an `accept` only ends our chain `forward`, and a packet that
 * a chain of another table drops at the same hook is still dropped.
 */

import type { Family } from "../../addr/ip.ts";
import type { Prefix } from "../../addr/prefix.ts";
import { compareChain } from "../rules/chain_comparison.ts";
import type { AddressMatch, FamilyRules, Rule } from "../rules/firewall_rules.ts";
import { type NftChain, nftFamily, type NftTable } from "./nft_listing.ts";

/** The table's name. It is fixed: Go flannel uses the same. */
export function nftTableName(family: Family): string {
  return `flannel-ipv${family}`;
}

/** The command for the listing that `readNftTableNames` reads. */
export function listTablesCommand(family: Family): string {
  return `list tables ${nftFamily(family)}`;
}

/** The command for the listing that `readNftTable` reads. */
export function listTableCommand(family: Family): string {
  return `list table ${nftFamily(family)} ${nftTableName(family)}`;
}

/**
 * Commands, one on each line, that make the table hold the rules and nothing else of ours;
 * `undefined` if it already does. Without rules, ours are removed.
 *
 * `networks`: current and previous networks, by which this daemon recognizes its rules.
 */
export function nftablesCorrection(
  { family, table, rules, networks }: {
    family: Family;
    table: NftTable | undefined;
    rules: FamilyRules | undefined;
    networks: readonly Prefix[];
  },
): string | undefined {
  const name = `${nftFamily(family)} ${nftTableName(family)}`;
  const corrections = CHAINS.map((spec) =>
    chainCorrection(spec, {
      family,
      chain: table?.chains.get(spec.name),
      desired: rules?.[spec.ruleSet] ?? [],
      networks,
    })
  );
  if (corrections.every(({ remains }) => !remains)) {
    if (table === undefined) return undefined;
    const hasOthers = table.hasOtherObjects ||
      [...table.chains.keys()].some((chain) => !CHAINS.some((ours) => ours.name === chain));
    if (!hasOthers) return `delete table ${name}\n`;
  }
  const commands = corrections.flatMap(({ commands }) => commands);
  if (commands.length === 0 && !table?.isDormant) return undefined;
  // Adding a table that exists ends its dormant state and changes nothing else.
  return [`add table ${name}`, ...commands, ""].join("\n");
}

interface ChainSpec {
  readonly name: string;
  readonly type: string;
  readonly hook: string;
  /** nft(8) calls them `srcnat` and `filter`; all versions accept the numbers. */
  readonly priority: number;
  readonly comment: string;
  readonly ruleSet: "masquerade" | "forward";
}

const CHAINS: readonly ChainSpec[] = [
  {
    name: "postrtg",
    type: "nat",
    hook: "postrouting",
    priority: 100,
    comment: "flanneld masq",
    ruleSet: "masquerade",
  },
  {
    name: "forward",
    type: "filter",
    hook: "forward",
    priority: 0,
    comment: "flanneld forward",
    ruleSet: "forward",
  },
];

/** `remains`: whether the chain exists after the commands. */
function chainCorrection(
  spec: ChainSpec,
  { family, chain, desired, networks }: {
    family: Family;
    chain: NftChain | undefined;
    desired: readonly Rule[];
    networks: readonly Prefix[];
  },
): { commands: string[]; remains: boolean } {
  const path = `${nftFamily(family)} ${nftTableName(family)} ${spec.name}`;
  const statements = desired.map((rule) =>
    `${ruleStatement(rule, family)} comment "${spec.comment}"`
  );
  const added = [
    `add chain ${path} { type ${spec.type} hook ${spec.hook} priority ${spec.priority}; ` +
    "policy accept; }",
    ...statements.map((statement) => `add rule ${path} ${statement}`),
  ];
  if (chain === undefined) {
    return desired.length > 0
      ? { commands: added, remains: true }
      : { commands: [], remains: false };
  }
  const { isInSync, replaced, foreign } = compareChain({
    entries: chain.entries,
    desired,
    networks,
  });
  const removed = [`flush chain ${path}`, `delete chain ${path}`];
  if (desired.length === 0 && foreign.length === 0) return { commands: removed, remains: false };
  if (chain.base !== `${spec.type} ${spec.hook} ${spec.priority} accept`) {
    return { commands: [...removed, ...added], remains: true };
  }
  if (isInSync) return { commands: [], remains: true };
  if (foreign.length === 0) {
    return { commands: [`flush chain ${path}`, ...added.slice(1)], remains: true };
  }
  return {
    commands: [
      ...replaced.map(({ raw }) => `delete rule ${path} handle ${raw}`),
      ...statements.toReversed().map((statement) => `insert rule ${path} ${statement}`),
    ],
    remains: true,
  };
}

function ruleStatement(rule: Rule, family: Family): string {
  const parts: string[] = [];
  if (rule.mark) {
    const { value, mask } = rule.mark;
    parts.push(`meta mark & 0x${mask.toString(16)} == 0x${value.toString(16)}`);
  }
  const address = (field: string, match: AddressMatch | undefined) => {
    if (match) {
      parts.push(`${nftFamily(family)} ${field} ${match.negated ? "!= " : ""}${match.prefix}`);
    }
  };
  address("saddr", rule.source);
  address("daddr", rule.destination);
  return [...parts, rule.verdict].join(" ");
}
