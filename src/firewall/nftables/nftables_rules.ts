/**
 * The rules in nftables: reading a table as libnftables prints it in JSON
 * (libnftables-json(5)), and the commands (nft(8)) that correct what differs, to be run as one
 * transaction.
 *
 * The chains are base chains of their own: an `accept` ends only the chain `forward`, and a packet
 * that another table's chain on the same hook drops is dropped all the same.
 */

import {
  addressBits,
  type Family,
  familyOf,
  type IpAddress,
  parseIpAddress,
} from "../../addr/ip.ts";
import { makePrefix, type Prefix, prefixContains } from "../../addr/prefix.ts";
import { type ChainEntry, compareChain } from "../rules/chain_comparison.ts";
import type { AddressMatch, FamilyRules, Rule, RuleVerdict } from "../rules/firewall_rules.ts";

export interface NftTable {
  /** The kernel skips a dormant table. */
  readonly isDormant: boolean;
  readonly chains: ReadonlyMap<string, NftChain>;
  /** Sets, maps and the like: this program has none. */
  readonly hasOtherObjects: boolean;
}

export interface NftChain {
  /** `nat postrouting 100 accept`; with "undefined" in it for a chain without a hook. */
  readonly base: string;
  /** `raw` is the rule's handle. */
  readonly entries: readonly ChainEntry<number>[];
}

/** The table's name, which the Go program fixed. */
export function nftTableName(family: Family): string {
  return `flannel-ipv${family}`;
}

/** The commands whose JSON output `readNftTableNames` and `readNftTable` understand. */
export function listTablesCommand(family: Family): string {
  return `list tables ${nftFamily(family)}`;
}

export function listTableCommand(family: Family): string {
  return `list table ${nftFamily(family)} ${nftTableName(family)}`;
}

export function listChainCommand(
  { family, table, chain }: { family: Family; table: string; chain: string },
): string {
  return `list chain ${nftFamily(family)} ${table} ${chain}`;
}

/** How many rules in the listing jump to the chain. Throws `SyntaxError`. */
export function countJumps(json: string, chain: string): number {
  return readObjects(json).filter(({ rule }) =>
    isRecord(rule) && Array.isArray(rule["expr"]) &&
    rule["expr"].filter(isRecord).some(({ jump }) => isRecord(jump) && jump["target"] === chain)
  ).length;
}

/**
 * Whether a rule in the listing matches a set. iptables shows such a rule without that condition:
 * `ip saddr @blocked drop` looks like a DROP of everything. Throws `SyntaxError`.
 */
export function comparesWithSets(json: string): boolean {
  return readObjects(json).some(({ rule }) =>
    isRecord(rule) && Array.isArray(rule["expr"]) &&
    rule["expr"].filter(isRecord).some(({ match, vmap }) =>
      vmap !== undefined || isRecord(match) && isSet(match["right"])
    )
  );
}

function isSet(value: unknown): boolean {
  return typeof value === "string" ? value.startsWith("@") : isRecord(value) && "set" in value;
}

/** A base chain at the hook `forward`, of any table. */
export interface ForwardChain {
  readonly table: string;
  readonly family: "ip" | "ip6" | "inet";
  readonly name: string;
  readonly drops: boolean;
}

export const LIST_CHAINS_COMMAND = "list chains";

/** The chains at the hook `forward` in the listing of all chains. Throws `SyntaxError`. */
export function readForwardChains(json: string): ForwardChain[] {
  return readObjects(json).flatMap(({ chain }) => {
    if (!isRecord(chain) || chain["hook"] !== "forward") return [];
    const { family, table, name, policy } = chain;
    if (family !== "ip" && family !== "ip6" && family !== "inet") return [];
    return [{ family, table: textOf(table), name: textOf(name), drops: policy === "drop" }];
  });
}

/** Whether the listing has a rule that drops every packet. Throws `SyntaxError`. */
export function refusesAll(json: string): boolean {
  return readObjects(json).some(({ rule }) => {
    const expressions = isRecord(rule) && Array.isArray(rule["expr"]) ? rule["expr"] : [];
    const names = expressions.filter(isRecord).flatMap((expression) => Object.keys(expression));
    const last = names.at(-1);
    return (last === "drop" || last === "reject") &&
      names.slice(0, -1).every((name) => name === "counter" || name === "log");
  });
}

/**
 * Whether the listing has a rule that accepts packets of the network or sends them to another chain.
 * Throws `SyntaxError`.
 */
export function admitsNetwork(json: string, network: Prefix): boolean {
  return readObjects(json).some(({ rule }) => {
    if (!isRecord(rule) || !Array.isArray(rule["expr"])) return false;
    const names = rule["expr"].filter(isRecord).flatMap((expression) => Object.keys(expression));
    return ["accept", "jump", "goto"].some((verdict) => names.includes(verdict)) &&
      readRule(rule).prefixes.some((prefix) => prefixContains(prefix, network)) &&
      !rule["expr"].some((item) =>
        isRecord(item) && isRecord(item["match"]) && item["match"]["op"] === "!="
      );
  });
}

/** Throws `SyntaxError` for output that is not libnftables JSON; so does `readNftTable`. */
export function readNftTableNames(json: string): string[] {
  return readObjects(json).flatMap(({ table }) =>
    isRecord(table) && typeof table["name"] === "string" ? [table["name"]] : []
  );
}

export function readNftTable(json: string): NftTable {
  const chains = new Map<string, { base: string; entries: ChainEntry<number>[] }>();
  let isDormant = false;
  let hasOtherObjects = false;
  for (const object of readObjects(json)) {
    const { metainfo, table, chain, rule } = object;
    if (isRecord(table)) isDormant = isDormantFlag(table["flags"]);
    else if (isRecord(chain)) {
      const base = ["type", "hook", "prio", "policy"].map((name) => textOf(chain[name])).join(" ");
      chains.set(textOf(chain["name"]), { base, entries: [] });
    } else if (isRecord(rule)) chains.get(textOf(rule["chain"]))?.entries.push(readRule(rule));
    else if (metainfo === undefined) hasOtherObjects = true;
  }
  return { isDormant, chains, hasOtherObjects };
}

/**
 * Commands, one on each line, that make the table hold the rules and nothing else of ours;
 * `undefined` if it does already. Without rules, what is ours is removed.
 *
 * `networks`: the prefixes, present and former, by which this daemon knows its rules.
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
      desired: rules?.[spec.rules] ?? [],
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
  // Adding a table that exists wakes it, if it is dormant, and changes nothing otherwise.
  return [`add table ${name}`, ...commands, ""].join("\n");
}

interface ChainSpec {
  readonly name: string;
  readonly type: string;
  readonly hook: string;
  /** `srcnat` and `filter` of nft(8), as numbers, which every version understands. */
  readonly priority: number;
  readonly comment: string;
  readonly rules: "masquerade" | "forward";
}

const CHAINS: readonly ChainSpec[] = [
  {
    name: "postrtg",
    type: "nat",
    hook: "postrouting",
    priority: 100,
    comment: "flanneld masq",
    rules: "masquerade",
  },
  {
    name: "forward",
    type: "filter",
    hook: "forward",
    priority: 0,
    comment: "flanneld forward",
    rules: "forward",
  },
];

/** `remains`: the chain exists after the commands. */
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
    `add chain ${path} { type ${spec.type} hook ${spec.hook} priority ${spec.priority}; policy accept; }`,
    ...statements.map((statement) => `add rule ${path} ${statement}`),
  ];
  if (chain === undefined) {
    return desired.length > 0
      ? { commands: added, remains: true }
      : { commands: [], remains: false };
  }
  const { inSync, replaced, foreign } = compareChain({ entries: chain.entries, desired, networks });
  const removed = [`flush chain ${path}`, `delete chain ${path}`];
  if (desired.length === 0 && foreign.length === 0) return { commands: removed, remains: false };
  if (chain.base !== `${spec.type} ${spec.hook} ${spec.priority} accept`) {
    return { commands: [...removed, ...added], remains: true };
  }
  if (inSync) return { commands: [], remains: true };
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

function nftFamily(family: Family): "ip" | "ip6" {
  return family === 4 ? "ip" : "ip6";
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

function readObjects(json: string): Record<string, unknown>[] {
  const document: unknown = JSON.parse(json);
  const objects = isRecord(document) ? document["nftables"] : undefined;
  if (!Array.isArray(objects)) throw new SyntaxError("nftables printed JSON without its objects");
  return objects.filter(isRecord);
}

/** The flag, alone or in a list; nftables 1.0.6 prints the table's name in its place. */
function isDormantFlag(flags: unknown): boolean {
  return [flags ?? []].flat().some((flag) => flag !== "owner" && flag !== "persist");
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** A string or a number as text; an object has no reliable text. */
function textOf(value: unknown): string {
  return typeof value === "object" && value !== null ? "an object" : String(value);
}

function readRule(rule: Record<string, unknown>): ChainEntry<number> {
  const expressions = Array.isArray(rule["expr"]) ? rule["expr"].filter(isRecord) : [];
  return {
    rule: decodeRule(expressions),
    prefixes: collectPrefixes(expressions),
    raw: typeof rule["handle"] === "number" ? rule["handle"] : NaN,
  };
}

/** The rule, if each of its expressions is one that `ruleStatement` writes. */
function decodeRule(expressions: readonly Record<string, unknown>[]): Rule | undefined {
  const last = expressions.at(-1);
  const verdict = last && decodeVerdict(last);
  if (verdict === undefined) return undefined;
  const rule: { -readonly [K in keyof Rule]: Rule[K] } = { verdict };
  for (const { match } of expressions.slice(0, -1)) {
    if (!isRecord(match) || !decodeMatch(rule, match)) return undefined;
  }
  return rule;
}

function decodeVerdict(expression: Record<string, unknown>): RuleVerdict | undefined {
  if ("accept" in expression) return "accept";
  if ("return" in expression) return "return";
  if (!("masquerade" in expression)) return undefined;
  const masquerade = expression["masquerade"];
  if (!isRecord(masquerade)) return masquerade === null ? "masquerade" : undefined;
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
  if (!isRecord(left)) return false;
  const { payload, "&": masked } = left;
  if (isRecord(payload)) {
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
  if (!isRecord(meta) || !isRecord(meta["meta"]) || meta["meta"]["key"] !== "mark") return false;
  if (typeof mask !== "number" || rule.mark) return false;
  rule.mark = { value: right, mask };
  return true;
}

/** A prefix object, or a lone address, as a host's prefix is printed. */
function decodePrefix(value: unknown): Prefix | undefined {
  if (typeof value === "string") {
    const address = parseIpAddress(value);
    return address && makePrefix(address, addressBits(familyOf(address)));
  }
  const prefix = isRecord(value) ? value["prefix"] : undefined;
  if (!isRecord(prefix)) return undefined;
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

/** Deeper than any expression of nft. */
const MAX_DEPTH = 100;

/** Every address and prefix in an expression. */
function collectPrefixes(value: unknown, depth: number = 0): Prefix[] {
  const prefix = decodePrefix(value);
  if (prefix !== undefined) return [prefix];
  if (typeof value !== "object" || value === null || depth > MAX_DEPTH) return [];
  return Object.values(value).flatMap((item) => collectPrefixes(item, depth + 1));
}
