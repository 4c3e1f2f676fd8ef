/**
 * The firewall rules of an overlay network, as data: what is masqueraded and what may be forwarded.
 *
 * A packet from a workload to a workload of another node keeps its source address: one of the first
 * rules returns it unchanged. A packet from a workload to the outside gets the node's address (rule
 * 5). So does a packet that the node sends into the overlay from an address outside of it (rule 6),
 * because the other nodes could not reply otherwise. Packets with kube-proxy's mark are left to
 * kube-proxy, which masquerades them itself.
 *
 * `iptables_rules.ts` and `nftables_rules.ts` render these values.
 */

import { mapFamilies, type PerFamily } from "../../addr/family.ts";
import type { Family } from "../../addr/ip.ts";
import type { Prefix } from "../../addr/prefix.ts";

/** For each enabled family, the rules of its two chains. */
export type FirewallRules = PerFamily<FamilyRules>;

export interface FamilyRules {
  /** Workload addresses of the whole cluster. */
  readonly network: Prefix;
  /** Rules for address translation, after routing. If empty, there is no such chain. */
  readonly masquerade: readonly Rule[];
  /** Rules for forwarded packets. If empty, there is no such chain. */
  readonly forward: readonly Rule[];
}

/** A rule matches if each condition that is present holds. */
export interface Rule {
  readonly source?: AddressMatch;
  readonly destination?: AddressMatch;
  /** The packet mark under `mask` equals `value`. */
  readonly mark?: { readonly value: number; readonly mask: number };
  readonly verdict: RuleVerdict;
}

export interface AddressMatch {
  readonly prefix: Prefix;
  /** Matches addresses outside the prefix. */
  readonly negated: boolean;
}

export type RuleVerdict = "accept" | "return" | "masquerade" | "masquerade fully-random";

export interface FirewallRuleOptions {
  readonly families: PerFamily<{ readonly network: Prefix; readonly subnet: Prefix }>;
  /** `--ip-masq` */
  readonly ipMasq: boolean;
  /**
   * Choose source ports at random, which avoids insertion races in the kernel's connection table;
   * false with `--ip-masq-fully-random-disable`.
   */
  readonly fullyRandom: boolean;
  /** `--iptables-forward-rules` */
  readonly forward: boolean;
}

/** The rules for the networks and this node's subnets. */
export function firewallRules(options: FirewallRuleOptions): FirewallRules {
  return mapFamilies(options.families, ({ network, subnet }, family) => ({
    network,
    masquerade: options.ipMasq
      ? masqueradeRules({ network, subnet, family, fullyRandom: options.fullyRandom })
      : [],
    forward: options.forward ? forwardRules(network) : [],
  }));
}

/** The same rules without random source ports, for a system that does not support them. */
export function withoutFullyRandom(rules: FamilyRules): FamilyRules {
  return {
    ...rules,
    masquerade: rules.masquerade.map((rule) =>
      rule.verdict === "masquerade fully-random" ? { ...rule, verdict: "masquerade" } : rule
    ),
  };
}

/** A rule in one line, equal for equal rules: `from 10.5.0.0/16 to not 224.0.0.0/4 masquerade`. */
export function ruleText(rule: Rule): string {
  const parts: string[] = [];
  if (rule.mark) {
    parts.push(`mark 0x${rule.mark.value.toString(16)}/0x${rule.mark.mask.toString(16)}`);
  }
  if (rule.source) parts.push("from", addressMatchText(rule.source));
  if (rule.destination) parts.push("to", addressMatchText(rule.destination));
  return [...parts, rule.verdict].join(" ");
}

/** Returns packets with the mark of those that kube-proxy is going to masquerade. */
export const KUBE_PROXY_RULE: Rule = { mark: { value: 0x4000, mask: 0x4000 }, verdict: "return" };

const MULTICAST = { 4: "224.0.0.0/4" as Prefix, 6: "ff00::/8" as Prefix };

function masqueradeRules(
  { network, subnet, family, fullyRandom }: {
    network: Prefix;
    subnet: Prefix;
    family: Family;
    fullyRandom: boolean;
  },
): Rule[] {
  const masquerade = fullyRandom ? "masquerade fully-random" : "masquerade";
  return [
    KUBE_PROXY_RULE,
    { source: inside(subnet), destination: inside(network), verdict: "return" },
    { source: inside(network), destination: inside(subnet), verdict: "return" },
    // From outside directly to a workload of this node: the workload sees the client's address.
    { source: outside(network), destination: inside(subnet), verdict: "return" },
    { source: inside(network), destination: outside(MULTICAST[family]), verdict: masquerade },
    { source: outside(network), destination: inside(network), verdict: masquerade },
  ];
}

function forwardRules(network: Prefix): Rule[] {
  return [
    { source: inside(network), verdict: "accept" },
    { destination: inside(network), verdict: "accept" },
  ];
}

function inside(prefix: Prefix): AddressMatch {
  return { prefix, negated: false };
}

function outside(prefix: Prefix): AddressMatch {
  return { prefix, negated: true };
}

function addressMatchText({ prefix, negated }: AddressMatch): string {
  return negated ? `not ${prefix}` : prefix;
}
