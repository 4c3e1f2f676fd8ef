/**
 * Finds the rule that drops packets of the overlay network before they reach our rules.
 *
 * Only a sweeping rule counts: a REJECT or DROP that has no condition, or that covers more than our
 * network, or all new or all established connections; in the built-in chain itself, or in a chain
 * to which it jumps without a condition. A rule with another condition (an interface, a port,
 * addresses inside our network, invalid packets) is an administrator's decision and keeps its
 * effect.
 */

import { type Prefix, prefixContains, prefixesOverlap } from "../../addr/prefix.ts";
import type { AddressMatch } from "../rules/firewall_rules.ts";
import { FORWARD_HOOK } from "./iptables_hooks.ts";
import { isPlainJump, parseRuleSpec, type RuleSpec } from "./iptables_rule_spec.ts";

/**
 * The rule that drops packets of the network before they reach the jump to `jumpChain`; `undefined`
 * if there is none. `parent`: the rules of the built-in chain.
 */
export function dropBeforeJump(
  { chains, parent, jumpChain, network }: {
    chains: ReadonlyMap<string, readonly string[]>;
    parent: readonly RuleSpec[];
    jumpChain: string;
    network: Prefix;
  },
): RuleSpec | undefined {
  // A chain that had no effect on the packet has none when it is called again.
  const walked = new Set<string>();
  const walk = (rules: readonly RuleSpec[], depth: number): RuleSpec | "settled" | undefined => {
    for (const spec of rules) {
      if (isPlainJump(spec, jumpChain)) return "settled";
      if (DROPS.has(spec.target) && isSweeping(spec, network)) return spec;
      if (spec.states || !isSweeping(spec, network)) continue;
      if (spec.target === "ACCEPT") return "settled";
      if (spec.target === "RETURN") return depth === 0 ? "settled" : undefined;
      const called = ADMINISTRATOR_CHAINS.has(spec.target) ? undefined : chains.get(spec.target);
      if (called === undefined) continue;
      if (depth < MAX_CALL_DEPTH && !walked.has(spec.target)) {
        walked.add(spec.target);
        const result = walk(called.map((raw) => parseRuleSpec(raw)), depth + 1);
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
 * Why a FORWARD chain without our rules drops packets of the network: its policy or a rule.
 * `undefined` if it accepts them, as far as can be determined without ports and interfaces.
 */
export function forwardDropReason(
  { chains, policy, network }: {
    chains: ReadonlyMap<string, readonly string[]>;
    policy: string | undefined;
    network: Prefix;
  },
): string | undefined {
  const covers = (match: AddressMatch | undefined) =>
    match === undefined || !match.negated && prefixContains(match.prefix, network);
  // The network is accepted, or sent to a separate chain.
  const isAccepted = chains.values().some((rules) =>
    rules.map((raw) => parseRuleSpec(raw)).some((spec) =>
      !spec.isNarrower && !spec.mark && !spec.states && covers(spec.source) &&
      covers(spec.destination) &&
      (spec.target === "ACCEPT" ||
        chains.has(spec.target) && (spec.source ?? spec.destination) !== undefined)
    )
  );
  if (isAccepted) return undefined;
  const parent = (chains.get("FORWARD") ?? []).map((raw) => parseRuleSpec(raw));
  const rule = dropBeforeJump({ chains, parent, jumpChain: FORWARD_HOOK.chain, network });
  if (rule !== undefined) return `it has the rule "${rule.raw}"`;
  return policy === "DROP" ? "its policy is DROP" : undefined;
}

const DROPS: ReadonlySet<string> = new Set(["REJECT", "DROP"]);
/** Rules that an administrator writes here are meant to come first. */
const ADMINISTRATOR_CHAINS: ReadonlySet<string> = new Set(["DOCKER-USER"]);
const MAX_CALL_DEPTH = 16;

/** Whether the rule concerns more than our network, or all new or established connections. */
function isSweeping(spec: RuleSpec, network: Prefix): boolean {
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
