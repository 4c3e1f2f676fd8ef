/**
 * The rules in iptables: comparing what `iptables-save` shows with what should be there, and the
 * input of `iptables-restore --noflush` that corrects what differs.
 *
 * Our chains hang off the built-in ones by one jump each. iptables-restore replaces a table in one
 * piece (legacy: one setsockopt; nft: one transaction), so that no packet sees a chain half filled.
 *
 * The jump goes to the top, before a REJECT that Docker or firewalld keeps at the end. It need not
 * stay there: other programs insert at the top too, and moving ahead of each of them would be a
 * fight without end. It moves only when packets of the overlay would be refused before they get to
 * it; `obstacle` says what counts as that.
 */

import {
  parsePrefixMasked,
  type Prefix,
  prefixContains,
  prefixesOverlap,
} from "../../addr/prefix.ts";
import { addressBits, familyOf } from "../../addr/ip.ts";
import { type ChainEntry, compareChain } from "../rules/chain_comparison.ts";
import type { IptablesState } from "./iptables_save.ts";
import type { AddressMatch, FamilyRules, Rule, RuleVerdict } from "../rules/firewall_rules.ts";

/**
 * Input for `iptables-restore --noflush` that makes the state hold the rules, and nothing else of
 * ours; `undefined` if it does already. Without rules, what is ours is removed.
 *
 * `networks`: the prefixes, present and former, by which this daemon knows its rules. `partial`:
 * tables of which only our own chain and jump are known. `skipped`: tables to leave alone. `mayMove`:
 * whether our jump goes to the top when packets would be refused before it; default true.
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
      desired: rules?.[hook.rules] ?? [],
      network: rules?.network,
      networks,
      isPartial: partial?.has(hook.table) ?? false,
      mayMove,
    });
    if (lines.length > 0) sections.push([`*${hook.table}`, ...lines, "COMMIT", ""].join("\n"));
  }
  return sections.length > 0 ? sections.join("") : undefined;
}

/** Tables and chains whose change may concern us: `table chain`. */
export const IPTABLES_CHAINS: ReadonlySet<string> = new Set([
  "nat POSTROUTING",
  "nat FLANNEL-POSTRTG",
  "filter FORWARD",
  "filter FLANNEL-FWD",
]);

/** A chain of ours and the built-in chain that leads to it. */
export interface IptablesHook {
  readonly table: string;
  readonly parent: string;
  readonly chain: string;
  readonly comment: string;
  readonly rules: "masquerade" | "forward";
}

export const IPTABLES_HOOKS: readonly IptablesHook[] = [
  {
    table: "nat",
    parent: "POSTROUTING",
    chain: "FLANNEL-POSTRTG",
    comment: "flanneld masq",
    rules: "masquerade",
  },
  {
    table: "filter",
    parent: "FORWARD",
    chain: "FLANNEL-FWD",
    comment: "flanneld forward",
    rules: "forward",
  },
];

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
  const parent = (chains.get(hook.parent) ?? []).map((raw) => parseSpec(raw));
  const entries = (chains.get(hook.chain) ?? []).map((raw) => chainEntry(parseSpec(raw), hook));
  const { inSync, foreign } = compareChain({ entries, desired, networks });
  const jumps = parent.filter((spec) => isPlainJump(spec, hook));
  const stale = parent.filter((spec) => isFormerDirectRule(spec, hook, networks));
  const remove = (spec: Spec) => `-D ${hook.parent} ${spec.raw}`;

  if (desired.length === 0 && foreign.length === 0) {
    if (!chains.has(hook.chain)) return stale.map(remove);
    // In a partially known table, other rules may refer to the chain.
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
  if (!chains.has(hook.chain) || !inSync) {
    lines.push(`:${hook.chain} - [0:0]`); // empties it, too
    lines.push(...desired.map((rule) => `-A ${hook.chain} ${ruleSpec(rule, hook.comment)}`));
    lines.push(...foreign.map(({ raw }) => `-A ${hook.chain} ${raw}`));
  }
  const isHidden = input.mayMove && network !== undefined && hook.table === "filter" &&
    obstacle({ chains, parent, hook, network }) !== undefined;
  lines.push(...stale.map(remove));
  if (jumps.length !== 1 || isHidden) {
    lines.push(...jumps.map(remove));
    lines.push(`-I ${hook.parent} 1 ${jumpSpec(hook)}`);
  }
  return lines;
}

/** Our jump to the hook's chain, as iptables-save prints it. */
export function jumpSpec(hook: IptablesHook): string {
  return `-m comment --comment "${hook.comment}" -j ${hook.chain}`;
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

/** One rule of iptables-save, as far as it matters here. */
interface Spec {
  readonly raw: string;
  readonly source?: AddressMatch;
  readonly destination?: AddressMatch;
  readonly mark?: { readonly value: number; readonly mask: number };
  readonly comment?: string;
  /** Connection tracking states the rule is limited to. */
  readonly states?: readonly string[];
  /** Another condition, of whatever kind. */
  readonly isNarrower: boolean;
  /** Empty for a rule without a target, which only counts. */
  readonly target: string;
  /** `-g`: does not come back. */
  readonly isGoto: boolean;
  readonly targetOptions: readonly string[];
}

function parseSpec(raw: string): Spec {
  const words = splitWords(raw);
  const spec: { -readonly [K in keyof Spec]: Spec[K] } = {
    raw,
    isNarrower: false,
    target: "",
    isGoto: false,
    targetOptions: [],
  };
  for (let i = 0; i < words.length; i++) {
    const negated = words[i] === "!";
    if (negated) i++;
    const option = words[i] as string;
    if (option === "-j" || option === "-g") {
      spec.target = words[i + 1] ?? "";
      spec.isGoto = option === "-g";
      spec.targetOptions = words.slice(i + 2);
      break;
    }
    // The number of values of an unknown option is unknown, too: each of its words counts as one.
    if (readCondition(spec, { option, value: words[i + 1] ?? "", negated })) i++;
    else spec.isNarrower = true;
  }
  return spec;
}

/** False for a condition that is not one of those that a `Spec` spells out. */
function readCondition(
  spec: { -readonly [K in keyof Spec]: Spec[K] },
  { option, value, negated }: { option: string; value: string; negated: boolean },
): boolean {
  switch (option) {
    case "-s":
    case "-d": {
      const prefix = parseSavedPrefix(value);
      if (prefix === undefined) return false;
      spec[option === "-s" ? "source" : "destination"] = { prefix, negated };
      return true;
    }
    case "-m":
      return ["comment", "mark", "conntrack", "state"].includes(value);
    case "--comment":
      spec.comment = value;
      return true;
    case "--mark": {
      const [mark, mask] = value.split("/").map(Number);
      spec.mark = { value: mark as number, mask: mask ?? 0xffffffff };
      return !negated;
    }
    case "--ctstate":
    case "--state":
      spec.states = value.split(",");
      return !negated;
    default:
      return false;
  }
}

/** iptables-save leaves out the length of a host in some versions. A mask with holes is not a prefix. */
function parseSavedPrefix(text: string): Prefix | undefined {
  return parsePrefixMasked(text.includes("/") ? text : `${text}/${addressBits(familyOf(text))}`);
}

/** Splits at blanks; a word in double quotes may hold blanks, and `\` before a quote or a `\`. */
function splitWords(text: string): string[] {
  const words = text.match(/"(?:\\.|[^"\\])*"|\S+/g) ?? [];
  return words.map((word) =>
    word.startsWith('"') ? word.slice(1, -1).replaceAll(/\\(.)/g, "$1") : word
  );
}

function chainEntry(spec: Spec, hook: IptablesHook): ChainEntry<string> {
  const prefixes = [spec.source, spec.destination].flatMap((match) => match ? [match.prefix] : []);
  return { rule: specRule(spec, hook), prefixes, raw: spec.raw };
}

/** The rule, if it is spelt as `ruleSpec` spells it. */
function specRule(spec: Spec, hook: IptablesHook): Rule | undefined {
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

function isPlainJump(spec: Spec, hook: IptablesHook): boolean {
  return spec.target === hook.chain && !spec.isGoto && isUnconditional(spec);
}

function isUnconditional(spec: Spec): boolean {
  return !spec.isNarrower && !spec.source && !spec.destination && !spec.mark && !spec.states;
}

/** Former versions of flannel put their rules into the built-in chains, with the same comment. */
function isFormerDirectRule(spec: Spec, hook: IptablesHook, networks: readonly Prefix[]): boolean {
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
    for (const raw of rules) if (parseSpec(raw).target === target) count++;
  }
  return count;
}

/** What an administrator writes here is meant to come first. */
const ADMINISTRATOR_CHAINS: ReadonlySet<string> = new Set(["DOCKER-USER"]);

/**
 * The rule that refuses packets of the overlay before they reach our jump, if there is one.
 *
 * Only a sweeping rule counts: a REJECT or DROP without a condition, or one that covers our network
 * along with others, or all new or all established connections; in the built-in chain itself or in
 * a chain it jumps to without a condition. A rule with a condition of its own (an interface, a
 * port, addresses inside our network, invalid packets) is somebody's decision and is left to work.
 */
function obstacle(
  { chains, parent, hook, network }: {
    chains: ReadonlyMap<string, readonly string[]>;
    parent: readonly Spec[];
    hook: IptablesHook;
    network: Prefix;
  },
): Spec | undefined {
  // A chain without an effect on the packet has none when it is called again.
  const walked = new Set<string>();
  const walk = (rules: readonly Spec[], depth: number): Spec | "settled" | undefined => {
    for (const spec of rules) {
      if (isPlainJump(spec, hook)) return "settled";
      if (REFUSALS.has(spec.target) && isSweeping(spec, network)) return spec;
      if (spec.states || !isSweeping(spec, network)) continue;
      if (spec.target === "ACCEPT") return "settled";
      if (spec.target === "RETURN") return depth === 0 ? "settled" : undefined;
      const called = ADMINISTRATOR_CHAINS.has(spec.target) ? undefined : chains.get(spec.target);
      if (called === undefined) continue;
      if (depth < MAX_CALL_DEPTH && !walked.has(spec.target)) {
        walked.add(spec.target);
        const result = walk(called.map((raw) => parseSpec(raw)), depth + 1);
        if (result !== undefined) return result;
      }
      if (spec.isGoto) return depth === 0 ? "settled" : undefined;
    }
    return undefined;
  };
  const result = walk(parent, 0);
  return result === "settled" ? undefined : result;
}

/**
 * Why a FORWARD chain without our rules drops packets of the network: its policy, or a rule. `undefined`
 * if it accepts them, as far as can be determined without ports and interfaces.
 */
export function forwardRefusal(
  { chains, policy, network }: {
    chains: ReadonlyMap<string, readonly string[]>;
    policy: string | undefined;
    network: Prefix;
  },
): string | undefined {
  const covers = (match: AddressMatch | undefined) =>
    match === undefined || !match.negated && prefixContains(match.prefix, network);
  // The network is accepted, or sent to a chain of its own.
  const isAccepted = chains.values().some((rules) =>
    rules.map((raw) => parseSpec(raw)).some((spec) =>
      !spec.isNarrower && !spec.mark && !spec.states && covers(spec.source) &&
      covers(spec.destination) &&
      (spec.target === "ACCEPT" ||
        chains.has(spec.target) && (spec.source ?? spec.destination) !== undefined)
    )
  );
  if (isAccepted) return undefined;
  const parent = (chains.get("FORWARD") ?? []).map((raw) => parseSpec(raw));
  const hook = IPTABLES_HOOKS.find(({ table }) => table === "filter") as IptablesHook;
  const rule = obstacle({ chains, parent, hook, network });
  if (rule !== undefined) return `it has the rule "${rule.raw}"`;
  return policy === "DROP" ? "its policy is DROP" : undefined;
}

const REFUSALS: ReadonlySet<string> = new Set(["REJECT", "DROP"]);
const MAX_CALL_DEPTH = 16;

function isSweeping(spec: Spec, network: Prefix): boolean {
  const covers = (match: AddressMatch | undefined) =>
    match === undefined ||
    (match.negated
      ? !prefixesOverlap(match.prefix, network)
      : match.prefix !== network && prefixContains(match.prefix, network));
  const isAboutFlows = spec.states === undefined ||
    spec.states.some((state) => state === "NEW" || state === "ESTABLISHED");
  return !spec.isNarrower && spec.mark === undefined && isAboutFlows &&
    covers(spec.source) && covers(spec.destination);
}
