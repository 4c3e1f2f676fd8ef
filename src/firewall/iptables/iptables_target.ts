/** Rules in iptables, through iptables-save and iptables-restore; see `iptables_rules.ts`. */

import { FAMILIES, type Family } from "../../addr/ip.ts";
import {
  iptablesFailure,
  type IptablesPrograms,
  type IptablesSnapshot,
  LOCK_WAIT_SECONDS,
  readIptables,
  runIptables,
} from "./iptables_reader.ts";
import {
  IPTABLES_CHAINS,
  IPTABLES_HOOKS,
  iptablesCorrection,
  type IptablesHook,
} from "./iptables_rules.ts";
import { findNftRunner } from "../nftables/nft_runner.ts";
import { comparesWithSets, countJumps, listChainCommand } from "../nftables/nftables_rules.ts";
import {
  type EnsureRequest,
  FirewallError,
  type NftChange,
  type RuleTarget,
  UnreadableTableError,
} from "../rules/rule_target.ts";

export const IPTABLES_PROGRAMS: IptablesPrograms = {
  4: { save: "iptables-save", restore: "iptables-restore" },
  6: { save: "ip6tables-save", restore: "ip6tables-restore" },
};

/**
 * Finds out which kind of iptables this is: one starts a program. Throws `FirewallError` where
 * iptables is missing, with the package that has it.
 */
export async function openIptables(
  programs: IptablesPrograms = IPTABLES_PROGRAMS,
): Promise<RuleTarget> {
  const program = programs[4].save;
  const version = await runIptables(program, ["--version"]);
  if (version.exitCode !== 0) throw iptablesFailure(program, version);
  // Before 1.8 there was only one kind, and it said nothing.
  const isNft = version.stdout.includes("(nf_tables)");
  return {
    name: isNft ? "iptables (nf_tables)" : "iptables (legacy)",
    isWatched: isNft,
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
  const refusals = await apply(context, before);
  if (before.inputs.length === 0) return report(context, before, false);
  const after = await plan(context);
  for (const { table } of after.inputs) {
    if (table === undefined) {
      throw new FirewallError(
        `cannot set up IPv${family} iptables rules: they differ from what ${
          programs[family].restore
        } wrote; another program seems to change them at the same time`,
      );
    }
    refusals.set(table, refusals.get(table) ?? "they differ from what was written");
  }
  return report(context, { ...after, refusals }, true);
}

interface Plan {
  readonly reading: IptablesSnapshot;
  /** Inputs for iptables-restore, one call each; `table` if only a part of that table is known. */
  readonly inputs: readonly { readonly table?: string; readonly text: string }[];
  /** By table: why our rules could not be put in. */
  readonly refusals?: ReadonlyMap<string, string>;
}

/** Reads, and computes what to write: for all known tables together, and for each other one separately. */
async function plan({ programs, isNft, request }: Context): Promise<Plan> {
  const { family, rules, networks, signal, onRead } = request;
  onRead?.();
  const reading = await readIptables({
    programs,
    family,
    isWanted: (hook) => (rules?.[hook.rules].length ?? 0) > 0,
    countJumps: isNft ? (hook) => jumpsSeenByNft(family, hook) : () => Promise.resolve(undefined),
    ...(signal && { signal }),
  });
  const { state, gaps } = reading;
  const partial = new Set(gaps.keys());
  const correction = (skipped: ReadonlySet<string>, mayMove: boolean) =>
    iptablesCorrection({ state, rules, networks, partial, skipped, mayMove });
  let known = correction(partial, true);
  if (isNft && known !== undefined) {
    const inPlace = correction(partial, false);
    if (known !== inPlace && await looksStricter(family)) known = inPlace;
  }
  const inputs = [
    { text: known },
    ...gaps.entries().map(([table, gap]) => {
      const others = IPTABLES_HOOKS.map((hook) => hook.table).filter((other) => other !== table);
      const text = gap.whyUnknown === undefined ? correction(new Set(others), false) : undefined;
      return { table, text };
    }),
  ];
  return {
    reading,
    inputs: inputs.flatMap(({ text, ...rest }) => text ? [{ ...rest, text }] : []),
  };
}

/** Writes. Returns why each table of which only a part is known rejected our rules. */
async function apply(
  { programs, request: { family, signal } }: Context,
  { inputs }: Plan,
): Promise<Map<string, string>> {
  const program = programs[family].restore;
  const refusals = new Map<string, string>();
  for (const { table, text } of inputs) {
    const args = ["--noflush", "-w", String(LOCK_WAIT_SECONDS)];
    const result = await runIptables(program, args, { stdin: text, ...(signal && { signal }) });
    if (result.exitCode === 0) continue;
    const failure = iptablesFailure(program, result);
    if (table === undefined) throw failure;
    refusals.set(table, failure.message);
  }
  return refusals;
}

/** Returns `changed`; throws `UnreadableTableError` while there are unreadable tables. */
function report({ request }: Context, { reading, refusals }: Plan, changed: boolean): boolean {
  const { family, rules } = request;
  const problems = [...reading.gaps].flatMap(([table, { reason, whyUnknown }]) => {
    const refusal = refusals?.get(table) ??
      (whyUnknown && `it is unknown whether they exist already: ${whyUnknown}`);
    if (rules === undefined && refusal === undefined) return [];
    return [unreadableText({ family, table, reason, refusal })];
  });
  if (problems.length > 0) throw new UnreadableTableError(problems.join("; "));
  return changed;
}

function unreadableText(
  { family, table, reason, refusal }: {
    family: Family;
    table: string;
    reason: string;
    refusal: string | undefined;
  },
): string {
  const name = `${family === 4 ? "ip" : "ip6"} ${table}`;
  const state = refusal === undefined
    ? "our rules are in it, but a rule that drops packets before they reach ours cannot be seen"
    : `our rules are not added: ${refusal}`;
  return `IPv${family} iptables cannot show the table ${table} (${reason}); ${state}. Remove what ` +
    `was added to it with nft ("nft list table ${name}" shows it), or set EnableNFTables in the ` +
    `network configuration`;
}

function jumpsSeenByNft(family: Family, hook: IptablesHook): Promise<number | undefined> {
  const { table, parent, chain } = hook;
  return askNft({ family, table, chain: parent }, (json) => countJumps(json, chain));
}

/** Whether FORWARD has rules that drop less than iptables shows: our jump stays behind those. */
async function looksStricter(family: Family): Promise<boolean> {
  return await askNft({ family, table: "filter", chain: "FORWARD" }, comparesWithSets) ?? false;
}

/** nft can read every rule. `undefined` if it is not installed. */
async function askNft<T>(
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
 * The built-in chains are announced again whenever their policy is set, which is none of our
 * business; their rules are, and their end (as by `nft flush ruleset`).
 */
function concernsIptables({ family, table, chain, isRule, isDeleted }: NftChange): boolean {
  if (family === undefined || !FAMILIES.includes(family satisfies Family)) return false;
  if (chain === undefined) return isDeleted && (table === "nat" || table === "filter");
  return (isRule || isDeleted) && IPTABLES_CHAINS.has(`${table} ${chain}`);
}
