/**
 * What the rules of other programs do, read from listings of nft (see `nft_listing.ts`).
 *
 * All functions throw `SyntaxError` for text that is not such a listing.
 */

import { isJsonObject } from "../../base/json_object.ts";
import type { Family } from "../../addr/ip.ts";
import { type Prefix, prefixContains } from "../../addr/prefix.ts";
import { expressionsOf, nftFamily, readObjects, readRule, textOf } from "./nft_listing.ts";

/** The command for the listing of one chain. */
export function listChainCommand(
  { family, table, chain }: { family: Family; table: string; chain: string },
): string {
  return `list chain ${nftFamily(family)} ${table} ${chain}`;
}

/** How many rules in the listing jump to the chain. Throws `SyntaxError`. */
export function countJumps(json: string, chain: string): number {
  return readObjects(json).filter(({ rule }) =>
    expressionsOf(rule).some(({ jump }) => isJsonObject(jump) && jump["target"] === chain)
  ).length;
}

/**
 * Whether a rule in the listing matches a set. iptables shows such a rule without that condition:
 * `ip saddr @blocked drop` looks like a DROP of everything. Throws `SyntaxError`.
 */
export function matchesSets(json: string): boolean {
  return readObjects(json).some(({ rule }) =>
    expressionsOf(rule).some(({ match, vmap }) =>
      vmap !== undefined || isJsonObject(match) && isSet(match["right"])
    )
  );
}

function isSet(value: unknown): boolean {
  return typeof value === "string" ? value.startsWith("@") : isJsonObject(value) && "set" in value;
}

/** A base chain at the hook `forward`, of any table. */
export interface ForwardChain {
  readonly table: string;
  readonly family: "ip" | "ip6" | "inet";
  readonly name: string;
  readonly isPolicyDrop: boolean;
}

export const LIST_CHAINS_COMMAND = "list chains";

/** The chains at the hook `forward` in the listing of all chains. Throws `SyntaxError`. */
export function readForwardChains(json: string): ForwardChain[] {
  return readObjects(json).flatMap(({ chain }) => {
    if (!isJsonObject(chain) || chain["hook"] !== "forward") return [];
    const { family, table, name, policy } = chain;
    if (family !== "ip" && family !== "ip6" && family !== "inet") return [];
    return [{ family, table: textOf(table), name: textOf(name), isPolicyDrop: policy === "drop" }];
  });
}

/** Whether the listing has a rule that drops every packet. Throws `SyntaxError`. */
export function dropsEverything(json: string): boolean {
  return readObjects(json).some(({ rule }) => {
    const names = expressionsOf(rule).flatMap((expression) => Object.keys(expression));
    const last = names.at(-1);
    return (last === "drop" || last === "reject") &&
      names.slice(0, -1).every((name) => name === "counter" || name === "log");
  });
}

/**
 * Whether the listing has a rule that accepts packets of the network or sends them to another
 * chain. Throws `SyntaxError`.
 */
export function acceptsNetwork(json: string, network: Prefix): boolean {
  return readObjects(json).some(({ rule }) => {
    if (!isJsonObject(rule)) return false;
    const expressions = expressionsOf(rule);
    const names = expressions.flatMap((expression) => Object.keys(expression));
    return ["accept", "jump", "goto"].some((verdict) => names.includes(verdict)) &&
      readRule(rule).prefixes.some((prefix) => prefixContains(prefix, network)) &&
      !expressions.some(({ match }) => isJsonObject(match) && match["op"] === "!=");
  });
}
