/**
 * Compares one of our chains with its desired rules.
 *
 * A chain may be shared: because the chains' names are fixed, a second daemon on this host, for
 * another network, keeps its rules in the same chain. A rule belongs to the daemon whose network it
 * names; a rule that names only other networks stays where it is. The first rule names no network
 * and is the same for all daemons.
 */

import { type Prefix, prefixesOverlap } from "../../addr/prefix.ts";
import { KUBE_PROXY_RULE, type Rule, ruleText } from "./firewall_rules.ts";

/** A rule as read from the kernel. `raw` is what the reader needs to refer to it. */
export interface ChainEntry<T> {
  /** `undefined` for a rule that this program cannot have written. */
  readonly rule: Rule | undefined;
  /** Every prefix with which the rule compares an address. */
  readonly prefixes: readonly Prefix[];
  readonly raw: T;
}

export interface ChainComparison<T> {
  /** The chain has the effect of the desired rules. */
  readonly isInSync: boolean;
  /**
   * Rules of ours, and rules that name no network: a correction replaces them by the desired rules.
   */
  readonly replaced: readonly ChainEntry<T>[];
  /** Rules of other networks, in their order: they stay. */
  readonly foreign: readonly ChainEntry<T>[];
}

/** `networks`: current and previous networks, by which this daemon recognizes its rules. */
export function compareChain<T>(
  { entries, desired, networks }: {
    entries: readonly ChainEntry<T>[];
    desired: readonly Rule[];
    networks: readonly Prefix[];
  },
): ChainComparison<T> {
  const foreign = entries.filter((entry) => isForeign(entry, networks));
  const replaced = entries.filter((entry) => !isForeign(entry, networks));
  const actualTexts = replaced.map(({ rule }) => rule ? ruleText(rule) : "?");
  const desiredTexts = desired.map(ruleText);
  const isInSync = foreign.length > 0
    ? hasSharedRules(actualTexts, desiredTexts)
    : sameTexts(actualTexts, desiredTexts);
  return { isInSync, replaced, foreign };
}

function isForeign(entry: ChainEntry<unknown>, networks: readonly Prefix[]): boolean {
  const named = entry.prefixes.filter((prefix) => !isMulticast(prefix));
  return named.length > 0 &&
    !named.some((prefix) => networks.some((network) => prefixesOverlap(network, prefix)));
}

function isMulticast(prefix: Prefix): boolean {
  return prefix === "224.0.0.0/4" || prefix === "ff00::/8";
}

/**
 * In a shared chain, each daemon adds the rule for kube-proxy's mark. One of them has to precede
 * our first rule that names a network; the others do not matter.
 */
function hasSharedRules(actual: readonly string[], desired: readonly string[]): boolean {
  const isOwn = (text: string) => text !== COMMON_TEXT;
  const isLed = !desired.includes(COMMON_TEXT) || actual[0] === COMMON_TEXT;
  return isLed && sameTexts(actual.filter(isOwn), desired.filter(isOwn));
}

const COMMON_TEXT = ruleText(KUBE_PROXY_RULE);

function sameTexts(a: readonly string[], b: readonly string[]): boolean {
  return a.length === b.length && a.every((text, index) => text === b[index]);
}
