/**
 * Reads the listings of nft, as libnftables prints them in JSON (libnftables-json(5)).
 *
 * All functions throw `SyntaxError` for text that is not such a listing.
 */

import { isJsonObject } from "../../base/json_object.ts";
import {
  addressBits,
  type Family,
  familyOf,
  type IpAddress,
  parseIpAddress,
} from "../../addr/ip.ts";
import { hostPrefix, makePrefix, type Prefix } from "../../addr/prefix.ts";
import type { ChainEntry } from "../rules/chain_comparison.ts";
import type { Rule, RuleVerdict } from "../rules/firewall_rules.ts";

export interface NftTable {
  /** The kernel skips a dormant table. */
  readonly isDormant: boolean;
  readonly chains: ReadonlyMap<string, NftChain>;
  /** Sets, maps and the like, which this program does not create. */
  readonly hasOtherObjects: boolean;
}

export interface NftChain {
  /** `nat postrouting 100 accept`. For a chain without a hook, `undefined` four times. */
  readonly base: string;
  /** `raw` is the rule's handle. */
  readonly entries: readonly ChainEntry<number>[];
}

/** The names in a listing of tables. */
export function readNftTableNames(json: string): string[] {
  return readObjects(json).flatMap(({ table }) =>
    isJsonObject(table) && typeof table["name"] === "string" ? [table["name"]] : []
  );
}

/** The table in its own listing. */
export function readNftTable(json: string): NftTable {
  const chains = new Map<string, { base: string; entries: ChainEntry<number>[] }>();
  let isDormant = false;
  let hasOtherObjects = false;
  for (const object of readObjects(json)) {
    const { metainfo, table, chain, rule } = object;
    if (isJsonObject(table)) isDormant = isDormantFlag(table["flags"]);
    else if (isJsonObject(chain)) {
      const base = ["type", "hook", "prio", "policy"].map((name) => textOf(chain[name])).join(" ");
      chains.set(textOf(chain["name"]), { base, entries: [] });
    } else if (isJsonObject(rule)) chains.get(textOf(rule["chain"]))?.entries.push(readRule(rule));
    else if (metainfo === undefined) hasOtherObjects = true;
  }
  return { isDormant, chains, hasOtherObjects };
}

/** The objects of a listing, such as `{ rule: … }`. */
export function readObjects(json: string): Record<string, unknown>[] {
  const document: unknown = JSON.parse(json);
  const objects = isJsonObject(document) ? document["nftables"] : undefined;
  if (!Array.isArray(objects)) throw new SyntaxError("nft printed JSON without a list of objects");
  return objects.filter(isJsonObject);
}

/** A string or a number as text. */
export function textOf(value: unknown): string {
  return typeof value === "object" && value !== null ? "an object" : String(value);
}

/** The name of the family in nft(8). */
export function nftFamily(family: Family): "ip" | "ip6" {
  return family === 4 ? "ip" : "ip6";
}

/** The expressions of a rule of a listing; none of anything else. */
export function expressionsOf(rule: unknown): Record<string, unknown>[] {
  return isJsonObject(rule) && Array.isArray(rule["expr"]) ? rule["expr"].filter(isJsonObject) : [];
}

/** A rule of a listing. */
export function readRule(rule: Record<string, unknown>): ChainEntry<number> {
  const expressions = expressionsOf(rule);
  return {
    rule: decodeRule(expressions),
    prefixes: collectPrefixes(expressions),
    raw: typeof rule["handle"] === "number" ? rule["handle"] : NaN,
  };
}

/** The rule, if `ruleStatement` could have written each of its expressions. */
function decodeRule(expressions: readonly Record<string, unknown>[]): Rule | undefined {
  const last = expressions.at(-1);
  const verdict = last && decodeVerdict(last);
  if (verdict === undefined) return undefined;
  const rule: { -readonly [K in keyof Rule]: Rule[K] } = { verdict };
  for (const { match } of expressions.slice(0, -1)) {
    if (!isJsonObject(match) || !decodeMatch(rule, match)) return undefined;
  }
  return rule;
}

function decodeVerdict(expression: Record<string, unknown>): RuleVerdict | undefined {
  if ("accept" in expression) return "accept";
  if ("return" in expression) return "return";
  if (!("masquerade" in expression)) return undefined;
  const masquerade = expression["masquerade"];
  if (!isJsonObject(masquerade)) return masquerade === null ? "masquerade" : undefined;
  const { flags, ...others } = masquerade;
  if (Object.keys(others).length > 0) return undefined;
  return [flags].flat().map(textOf).join() === "fully-random"
    ? "masquerade fully-random"
    : undefined;
}

function decodeMatch(
  rule: { -readonly [K in keyof Rule]: Rule[K] },
  { op, left, right }: Record<string, unknown>,
): boolean {
  if (!isJsonObject(left)) return false;
  const { payload, "&": masked } = left;
  if (isJsonObject(payload)) {
    const prefix = decodePrefix(right);
    if (prefix === undefined || (op !== "==" && op !== "!=")) return false;
    if (payload["protocol"] !== nftFamily(familyOf(prefix))) return false;
    const match = { prefix, negated: op === "!=" };
    const side = { saddr: "source", daddr: "destination" }[textOf(payload["field"])];
    if (side !== "source" && side !== "destination" || rule[side]) return false;
    rule[side] = match;
    return true;
  }
  if (!Array.isArray(masked) || op !== "==" || typeof right !== "number") return false;
  const [meta, mask] = masked as unknown[];
  if (!isJsonObject(meta) || !isJsonObject(meta["meta"]) || meta["meta"]["key"] !== "mark") {
    return false;
  }
  if (typeof mask !== "number" || rule.mark) return false;
  rule.mark = { value: right, mask };
  return true;
}

/** A prefix object, or a single address, as nft prints the prefix of one host. */
function decodePrefix(value: unknown): Prefix | undefined {
  if (typeof value === "string") {
    const address = parseIpAddress(value);
    return address && hostPrefix(address);
  }
  const prefix = isJsonObject(value) ? value["prefix"] : undefined;
  if (!isJsonObject(prefix)) return undefined;
  const { addr, len } = prefix;
  const address: IpAddress | undefined = typeof addr === "string"
    ? parseIpAddress(addr)
    : undefined;
  if (address === undefined || !Number.isInteger(len)) return undefined;
  const length = len as number;
  return length >= 0 && length <= addressBits(familyOf(address))
    ? makePrefix(address, length)
    : undefined;
}

/** Deeper than any real expression. */
const MAX_DEPTH = 100;

/** Every address and prefix in an expression. */
function collectPrefixes(value: unknown, depth: number = 0): Prefix[] {
  const prefix = decodePrefix(value);
  if (prefix !== undefined) return [prefix];
  if (typeof value !== "object" || value === null || depth > MAX_DEPTH) return [];
  return Object.values(value).flatMap((item) => collectPrefixes(item, depth + 1));
}

/** The flag, alone or in a list. nftables 1.0.6 prints the table's name instead. */
function isDormantFlag(flags: unknown): boolean {
  return [flags ?? []].flat().some((flag) => flag !== "owner" && flag !== "persist");
}
