/**
 * Comparing one of our chains with what it should hold.
 *
 * A chain may be shared: a second daemon on this host, for another network, keeps its rules in the
 * same chain, as the names are fixed. So a rule belongs to the daemon whose network it names, and
 * a rule that names only other networks is left where it is. The first rule, which names none, is
 * the same for everybody.
 */

import { type Prefix, prefixesOverlap } from "../../addr/prefix.ts";
import { KUBE_PROXY_RULE, type Rule, ruleText } from "./firewall_rules.ts";

/** A rule as read from the kernel; `raw` is whatever the reader needs to name it again. */
export interface ChainEntry<T> {
  /** `undefined` when it is not a rule that this program could have written. */
  readonly rule: Rule | undefined;
  /** Every prefix that the rule compares an address with. */
  readonly prefixes: readonly Prefix[];
  readonly raw: T;
}

export interface ChainComparison<T> {
  /** The chain does what it should. */
  readonly inSync: boolean;
  /** Rules that are ours or nobody's: a correction removes them and writes ours anew. */
  readonly replaced: readonly ChainEntry<T>[];
  /** Rules of other networks, in their order: they stay. */
  readonly foreign: readonly ChainEntry<T>[];
}

/** `networks`: the prefixes, present and former, by which this daemon knows its rules. */
export function compareChain<T>(
  { entries, desired, networks }: {
    entries: readonly ChainEntry<T>[];
    desired: readonly Rule[];
    networks: readonly Prefix[];
  },
): ChainComparison<T> {
  const foreign = entries.filter((entry) => isForeign(entry, networks));
  const replaced = entries.filter((entry) => !isForeign(entry, networks));
  return { inSync: isInSync(replaced, desired, foreign.length > 0), replaced, foreign };
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
 * In a shared chain each daemon brings the rule for kube-proxy's mark; what counts is that one comes
 * before our first rule that names a network.
 */
function isInSync(
  replaced: readonly ChainEntry<unknown>[],
  desired: readonly Rule[],
  shared: boolean,
): boolean {
  const actual = replaced.map(({ rule }) => rule ? ruleText(rule) : "?");
  const wanted = desired.map(ruleText);
  if (!shared) return sameTexts(actual, wanted);
  const isOwn = (text: string) => text !== COMMON_TEXT;
  const isLed = !wanted.includes(COMMON_TEXT) || actual[0] === COMMON_TEXT;
  return isLed && sameTexts(actual.filter(isOwn), wanted.filter(isOwn));
}

const COMMON_TEXT = ruleText(KUBE_PROXY_RULE);

function sameTexts(a: readonly string[], b: readonly string[]): boolean {
  return a.length === b.length && a.every((text, index) => text === b[index]);
}
