/**
 * The rules in iptables: compares the output of `iptables-save` with the desired rules, and
 * computes the input of `iptables-restore --noflush` that corrects the difference.
 *
 * One jump leads from each built-in chain to our chain. iptables-restore replaces a table
 * atomically (legacy: one setsockopt; nft: one transaction), so no packet ever sees a half-filled
 * chain.
 *
 * The jump is inserted at the top, before a REJECT that Docker or firewalld keeps at the end. It
 * need not stay there: other programs insert at the top, too, and moving ahead of each of them
 * would never end. It moves only when packets of the overlay would be dropped before they reach it;
 * see `forward_path.ts`.
 */

import { type Prefix, prefixesOverlap } from "../../addr/prefix.ts";
import { type ChainEntry, compareChain } from "../rules/chain_comparison.ts";
import type { AddressMatch, FamilyRules, Rule, RuleVerdict } from "../rules/firewall_rules.ts";
import { dropBeforeJump } from "./forward_path.ts";
import { IPTABLES_HOOKS, type IptablesHook, jumpSpec } from "./iptables_hooks.ts";
import { isPlainJump, parseRuleSpec, type RuleSpec } from "./iptables_rule_spec.ts";
import type { IptablesState } from "./iptables_save.ts";

/**
 * Input for `iptables-restore --noflush` that makes the tables hold the rules and nothing else of
 * ours; `undefined` if they already do. Without rules, ours are removed.
 *
 * `networks`: current and previous networks, by which this daemon recognizes its rules. `partial`:
 * tables of which only our own chain and jump are known. `skipped`: tables that are not changed.
 * `mayMove`: whether our jump moves to the top if packets would be dropped before it; default true.
 */
export function iptablesCorrection(
  { state, rules, networks, partial, skipped, mayMove = true }: {
    state: IptablesState;
    rules: FamilyRules | undefined;
    networks: readonly Prefix[];
    partial?: ReadonlySet<string>;
    skipped?: ReadonlySet<string>;
    mayMove?: boolean;
  },
): string | undefined {
  const sections: string[] = [];
  for (const hook of IPTABLES_HOOKS) {
    if (skipped?.has(hook.table)) continue;
    const lines = hookCorrection(hook, {
      chains: state.get(hook.table) ?? new Map(),
      desired: rules?.[hook.ruleSet] ?? [],
      network: rules?.network,
      networks,
      isPartial: partial?.has(hook.table) ?? false,
      mayMove,
    });
    if (lines.length > 0) sections.push([`*${hook.table}`, ...lines, "COMMIT", ""].join("\n"));
  }
  return sections.length > 0 ? sections.join("") : undefined;
}

interface HookInput {
  readonly chains: ReadonlyMap<string, readonly string[]>;
  readonly desired: readonly Rule[];
  readonly network: Prefix | undefined;
  readonly networks: readonly Prefix[];
  readonly isPartial: boolean;
  readonly mayMove: boolean;
}

function hookCorrection(hook: IptablesHook, input: HookInput): string[] {
  const { chains, desired, network, networks, isPartial } = input;
  const parent = (chains.get(hook.parent) ?? []).map((raw) => parseRuleSpec(raw));
  const entries = (chains.get(hook.chain) ?? []).map((raw) => chainEntry(parseRuleSpec(raw), hook));
  const { isInSync, foreign } = compareChain({ entries, desired, networks });
  const jumps = parent.filter((spec) => isPlainJump(spec, hook.chain));
  const stale = parent.filter((spec) => isLegacyDirectRule(spec, hook, networks));
  const remove = (spec: RuleSpec) => `-D ${hook.parent} ${spec.raw}`;

  if (desired.length === 0 && foreign.length === 0) {
    if (!chains.has(hook.chain)) return stale.map(remove);
    // In a partially known table, rules that are not known may refer to the chain.
    const isReferenced = isPartial || referenceCount(chains, hook.chain) > jumps.length;
    const isEmpty = chains.get(hook.chain)?.length === 0;
    if (isReferenced && isEmpty && jumps.length === 0) return stale.map(remove);
    return [
      ...[...stale, ...jumps].map(remove),
      `-F ${hook.chain}`,
      ...(isReferenced ? [] : [`-X ${hook.chain}`]),
    ];
  }
  const lines: string[] = [];
  if (!chains.has(hook.chain) || !isInSync) {
    lines.push(`:${hook.chain} - [0:0]`); // also empties an existing chain
    lines.push(...desired.map((rule) => `-A ${hook.chain} ${ruleSpec(rule, hook.comment)}`));
    lines.push(...foreign.map(({ raw }) => `-A ${hook.chain} ${raw}`));
  }
  const isHidden = input.mayMove && network !== undefined && hook.table === "filter" &&
    dropBeforeJump({ chains, parent, jumpChain: hook.chain, network }) !== undefined;
  lines.push(...stale.map(remove));
  if (jumps.length !== 1 || isHidden) {
    lines.push(...jumps.map(remove));
    lines.push(`-I ${hook.parent} 1 ${jumpSpec(hook)}`);
  }
  return lines;
}

/** In the order in which iptables-save prints the conditions. */
function ruleSpec(rule: Rule, comment: string): string {
  const parts: string[] = [];
  const address = (option: string, match: AddressMatch | undefined) => {
    if (match) parts.push(`${match.negated ? "! " : ""}${option} ${match.prefix}`);
  };
  address("-s", rule.source);
  address("-d", rule.destination);
  if (rule.mark) {
    const { value, mask } = rule.mark;
    parts.push(`-m mark --mark 0x${value.toString(16)}/0x${mask.toString(16)}`);
  }
  parts.push(`-m comment --comment "${comment}"`, `-j ${VERDICT_TARGETS[rule.verdict]}`);
  return parts.join(" ");
}

const VERDICT_TARGETS: Readonly<Record<RuleVerdict, string>> = {
  "accept": "ACCEPT",
  "return": "RETURN",
  "masquerade": "MASQUERADE",
  "masquerade fully-random": "MASQUERADE --random-fully",
};

function chainEntry(spec: RuleSpec, hook: IptablesHook): ChainEntry<string> {
  const prefixes = [spec.source, spec.destination].flatMap((match) => match ? [match.prefix] : []);
  return { rule: specRule(spec, hook), prefixes, raw: spec.raw };
}

/** The rule, if it is one that `ruleSpec` could have written. */
function specRule(spec: RuleSpec, hook: IptablesHook): Rule | undefined {
  const target = [spec.target, ...spec.targetOptions].join(" ");
  const verdict = (Object.keys(VERDICT_TARGETS) as RuleVerdict[])
    .find((name) => VERDICT_TARGETS[name] === target);
  const isPlain = !spec.isNarrower && !spec.isGoto && spec.states === undefined;
  if (verdict === undefined || !isPlain || spec.comment !== hook.comment) return undefined;
  return {
    ...(spec.source && { source: spec.source }),
    ...(spec.destination && { destination: spec.destination }),
    ...(spec.mark && { mark: spec.mark }),
    verdict,
  };
}

/** Old versions of flannel put their rules into the built-in chains, with the same comment. */
function isLegacyDirectRule(
  spec: RuleSpec,
  hook: IptablesHook,
  networks: readonly Prefix[],
): boolean {
  if (spec.comment !== hook.comment || spec.target === hook.chain) return false;
  return [spec.source, spec.destination].some((match) =>
    match && networks.some((network) => prefixesOverlap(network, match.prefix))
  );
}

function referenceCount(
  chains: ReadonlyMap<string, readonly string[]>,
  target: string,
): number {
  let count = 0;
  for (const rules of chains.values()) {
    for (const raw of rules) if (parseRuleSpec(raw).target === target) count++;
  }
  return count;
}
