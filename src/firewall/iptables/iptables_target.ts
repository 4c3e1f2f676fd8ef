/** Rules in iptables, by iptables-save and iptables-restore; see `iptables_rules.ts`. */

import type { Family } from "../../addr/ip.ts";
import {
  IPTABLES_PROGRAMS,
  iptablesFailure,
  type IptablesPrograms,
  LOCK_WAIT_SECONDS,
  runIptables,
} from "./iptables_programs.ts";
import { type IptablesSnapshot, readIptables } from "./iptables_reader.ts";
import { IPTABLES_CHAINS, IPTABLES_HOOKS, type IptablesHook } from "./iptables_hooks.ts";
import { iptablesCorrection } from "./iptables_rules.ts";
import { nftFamily } from "../nftables/nft_listing.ts";
import { findNftRunner } from "../nftables/nft_runner.ts";
import { countJumps, listChainCommand, matchesSets } from "../nftables/foreign_rules.ts";
import {
  type EnsureRequest,
  FirewallError,
  type NftChange,
  type RuleTarget,
  UnreadableTableError,
} from "../rules/rule_target.ts";

/**
 * Runs `iptables-save --version` to determine the kind of iptables. Throws `FirewallError` that
 * names the package if iptables is missing.
 */
export async function openIptables(
  programs: IptablesPrograms = IPTABLES_PROGRAMS,
): Promise<RuleTarget> {
  const program = programs[4].save;
  const version = await runIptables(program, ["--version"]);
  if (version.exitCode !== 0) throw iptablesFailure(program, version);
  // Before 1.8 there was only one kind, and the version did not name it.
  const isNft = version.stdout.includes("(nf_tables)");
  return {
    name: isNft ? "iptables (nf_tables)" : "iptables (legacy)",
    kind: isNft ? "iptables-nft" : "iptables-legacy",
    announcesChanges: isNft,
    ensure: (request) => ensure({ programs, isNft, request }),
    concerns: concernsIptables,
    [Symbol.dispose]: () => {},
  };
}

interface Context {
  readonly programs: IptablesPrograms;
  readonly isNft: boolean;
  readonly request: EnsureRequest;
}

async function ensure(context: Context): Promise<boolean> {
  const { request: { family }, programs } = context;
  const before = await plan(context);
  const rejections = await apply(context, before);
  if (before.inputs.length === 0) {
    requireReadable(context, before);
    return false;
  }
  const after = await plan(context);
  for (const { table } of after.inputs) {
    if (table === undefined) {
      throw new FirewallError(
        `cannot set up IPv${family} iptables rules: another program modified them right after ${
          programs[family].restore
        } wrote them`,
      );
    }
    rejections.set(
      table,
      rejections.get(table) ?? "they were modified right after they were written",
    );
  }
  requireReadable(context, { ...after, rejections });
  return true;
}

interface Plan {
  readonly reading: IptablesSnapshot;
  /** Inputs for iptables-restore, one call each. `table`: the one that is only partially known. */
  readonly inputs: readonly { readonly table?: string; readonly text: string }[];
  /** By table: why our rules could not be installed. */
  readonly rejections?: ReadonlyMap<string, string>;
}

/** Reads, and computes one input for all known tables and one for each partially known table. */
async function plan({ programs, isNft, request }: Context): Promise<Plan> {
  const { family, rules, networks, signal, onRead } = request;
  onRead?.();
  const reading = await readIptables({
    programs,
    family,
    isWanted: (hook) => (rules?.[hook.ruleSet].length ?? 0) > 0,
    countJumps: isNft ? (hook) => jumpsSeenByNft(family, hook) : () => Promise.resolve(undefined),
    ...(signal && { signal }),
  });
  const { state, gaps } = reading;
  const partial = new Set(gaps.keys());
  const correction = (options: { skipped: ReadonlySet<string>; mayMove: boolean }) =>
    iptablesCorrection({ state, rules, networks, partial, ...options });
  let known = correction({ skipped: partial, mayMove: true });
  if (isNft && known !== undefined) {
    const inPlace = correction({ skipped: partial, mayMove: false });
    if (known !== inPlace && await looksStricter(family)) known = inPlace;
  }
  const inputs = [
    { text: known },
    ...gaps.entries().map(([table, gap]) => {
      const others = IPTABLES_HOOKS.map((hook) => hook.table).filter((other) => other !== table);
      const text = gap.whyUnknown === undefined
        ? correction({ skipped: new Set(others), mayMove: false })
        : undefined;
      return { table, text };
    }),
  ];
  return {
    reading,
    inputs: inputs.flatMap(({ text, ...rest }) => text ? [{ ...rest, text }] : []),
  };
}

/** Writes. Returns, by partially known table, why it rejected our rules. */
async function apply(
  { programs, request: { family, signal } }: Context,
  { inputs }: Plan,
): Promise<Map<string, string>> {
  const program = programs[family].restore;
  const rejections = new Map<string, string>();
  for (const { table, text } of inputs) {
    const args = ["--noflush", "-w", String(LOCK_WAIT_SECONDS)];
    const result = await runIptables(program, args, { stdin: text, ...(signal && { signal }) });
    if (result.exitCode === 0) continue;
    const failure = iptablesFailure(program, result);
    if (table === undefined) throw failure;
    rejections.set(table, failure.message);
  }
  return rejections;
}

/** Throws `UnreadableTableError` while a table cannot be read completely. */
function requireReadable({ request }: Context, { reading, rejections }: Plan): void {
  const { family, rules } = request;
  const problems = [...reading.gaps].flatMap(([table, { reason, whyUnknown }]) => {
    const rejection = rejections?.get(table) ??
      (whyUnknown && `cannot determine whether they already exist: ${whyUnknown}`);
    if (rules === undefined && rejection === undefined) return [];
    return [unreadableText({ family, table, reason, rejection })];
  });
  if (problems.length > 0) throw new UnreadableTableError(problems.join("; "));
}

function unreadableText(
  { family, table, reason, rejection }: {
    family: Family;
    table: string;
    reason: string;
    rejection: string | undefined;
  },
): string {
  const name = `${nftFamily(family)} ${table}`;
  const state = rejection === undefined
    ? "flanneld's rules are installed, but rules that drop packets before them cannot be detected"
    : `flanneld's rules are not installed: ${rejection}`;
  return `IPv${family} iptables cannot show the table ${table} (${reason}); ${state}. Remove the ` +
    `rules that were added with nft ("nft list table ${name}" shows them), or set EnableNFTables ` +
    `in the network configuration`;
}

function jumpsSeenByNft(family: Family, hook: IptablesHook): Promise<number | undefined> {
  const { table, parent, chain } = hook;
  return readWithNft({ family, table, chain: parent }, (json) => countJumps(json, chain));
}

/** Whether FORWARD has rules that drop less than iptables shows: our jump stays after those. */
async function looksStricter(family: Family): Promise<boolean> {
  return await readWithNft({ family, table: "filter", chain: "FORWARD" }, matchesSets) ?? false;
}

/** Reads a chain with nft, which can show every rule. `undefined` if it is not installed. */
async function readWithNft<T>(
  chain: Parameters<typeof listChainCommand>[0],
  read: (json: string) => T,
): Promise<T | undefined> {
  try {
    return read(await findNftRunner().list(listChainCommand(chain)));
  } catch (error) {
    if (error instanceof FirewallError || error instanceof SyntaxError) return undefined;
    throw error;
  }
}

/**
 * The built-in chains are announced again whenever their policy is set, which does not concern us.
 * Their rules do, and so does their deletion (for example by `nft flush ruleset`).
 */
function concernsIptables({ family, table, chain, isRule, isDeleted }: NftChange): boolean {
  if (family === undefined) return false;
  if (chain === undefined) return isDeleted && (table === "nat" || table === "filter");
  return (isRule || isDeleted) && IPTABLES_CHAINS.has(`${table} ${chain}`);
}
