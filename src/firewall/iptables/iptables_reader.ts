/**
 * Reads the rules of iptables, and detects tables that it does not show completely.
 *
 * iptables-save omits a table with rules that only nft can show, and stops with an error at a rule
 * that it cannot read. For such a table, `iptables -C` and `iptables -S CHAIN` still show whether
 * our jump and our chain exist, so they are never added a second time.
 */

import type { Family } from "../../addr/ip.ts";
import { errorMessage } from "../../base/operator_error.ts";
import type { RunResult } from "../../process/run_program.ts";
import { IPTABLES_HOOKS, type IptablesHook, jumpSpec } from "./iptables_hooks.ts";
import {
  EXIT_LOCKED,
  iptablesFailure,
  type IptablesPrograms,
  LOCK_WAIT_SECONDS,
  runIptables,
  stderrText,
} from "./iptables_programs.ts";
import {
  type IptablesState,
  parseChainListing,
  parseIptablesSave,
  type SavedTables,
} from "./iptables_save.ts";
import { FirewallError } from "../rules/rule_target.ts";

export interface ReadRequest {
  readonly programs: IptablesPrograms;
  readonly family: Family;
  /** Whether the table should contain rules of ours. */
  readonly isWanted: (hook: IptablesHook) => boolean;
  /** The number of our jumps that nft shows; `undefined` if nft cannot be used. */
  readonly countJumps: (hook: IptablesHook) => Promise<number | undefined>;
  readonly signal?: AbortSignal;
}

export interface IptablesSnapshot {
  /** Of a table with a gap, only our chain and our jump. */
  readonly state: IptablesState;
  readonly gaps: ReadonlyMap<string, TableGap>;
}

/** A table that iptables does not show completely. */
export interface TableGap {
  readonly reason: string;
  /** Present if it is unknown whether our own chain and jump exist. */
  readonly whyUnknown?: string;
}

/** Throws `FirewallError` if nothing can be read at all. */
export async function readIptables(request: ReadRequest): Promise<IptablesSnapshot> {
  const { tables, unreadable } = await readTables(request);
  const state = new Map(tables);
  const gaps = new Map<string, TableGap>();
  for (const hook of IPTABLES_HOOKS) {
    const { table } = hook;
    const reason = unreadable.get(table);
    if (tables.has(table) || reason === undefined && !request.isWanted(hook)) continue;
    const own = await readOwnPart(request, hook);
    if (own instanceof FirewallError) {
      if (reason === undefined) throw own;
      gaps.set(table, { reason, whyUnknown: own.message });
      continue;
    }
    state.set(table, own);
    if (reason !== undefined) gaps.set(table, { reason });
    // There was no error, but our chain exists in a table that was not shown.
    else if (own.has(hook.chain)) gaps.set(table, { reason: "iptables-save omits it" });
  }
  return { state, gaps };
}

/** Runs iptables-save once, and once more for each of our tables if another table made it fail. */
async function readTables({ programs, family, signal }: ReadRequest): Promise<SavedTables> {
  const program = programs[family].save;
  const whole = await runIptables(program, [], signal && { signal });
  const saved = parseSaved(whole.stdout);
  if (whole.exitCode === 0) return saved;
  if (whole.exitCode === EXIT_LOCKED || whole.stdout === "") throw iptablesFailure(program, whole);
  const tables = new Map(saved.tables);
  const unreadable = new Map<string, string>();
  for (const { table } of IPTABLES_HOOKS) {
    if (tables.has(table)) continue;
    const one = await runIptables(program, ["-t", table], signal && { signal });
    const part = parseSaved(one.stdout);
    const rules = part.tables.get(table);
    const reason = one.exitCode === 0 ? part.unreadable.get(table) : stderrText(one);
    if (reason !== undefined) unreadable.set(table, reason);
    else if (rules !== undefined) tables.set(table, rules);
  }
  return { ...saved, tables, unreadable };
}

function parseSaved(text: string): SavedTables {
  try {
    return parseIptablesSave(text);
  } catch (cause) {
    throw new FirewallError(`cannot read iptables rules: ${errorMessage(cause)}`, { cause });
  }
}

/** Our jump and our chain in a table that iptables-save does not show, or why they are unknown. */
async function readOwnPart(
  request: ReadRequest,
  hook: IptablesHook,
): Promise<ReadonlyMap<string, readonly string[]> | FirewallError> {
  const { table, parent, chain, comment } = hook;
  const jump = ["-m", "comment", "--comment", comment, "-j", chain];
  const check = await runOnTable(request, table, ["-C", parent, ...jump]);
  const absence = check.exitCode === 0
    ? undefined
    : ABSENCES.find(({ text }) => text.test(check.stderr));
  if (absence?.isChainAbsent) return new Map([[parent, []]]);
  const jumps = check.exitCode === 0
    ? 1
    : absence !== undefined
    ? 0
    : await request.countJumps(hook);
  if (jumps === undefined) return iptablesFailure("iptables -C", check);
  const listing = await runOnTable(request, table, ["-S", chain]);
  if (listing.exitCode !== 0) return iptablesFailure("iptables -S", listing);
  return new Map([
    [parent, new Array<string>(jumps).fill(jumpSpec(hook))],
    [chain, parseChainListing(listing.stdout, chain)],
  ]);
}

/** What `iptables -C` prints for a missing rule; any other error says nothing about the rule. */
const ABSENCES: readonly { readonly text: RegExp; readonly isChainAbsent: boolean }[] = [
  { text: /Chain '[^']*' does not exist|Couldn't load target/, isChainAbsent: true },
  { text: /Bad rule|No chain\/target\/match by that name/, isChainAbsent: false },
];

function runOnTable(
  { programs, family, signal }: ReadRequest,
  table: string,
  args: readonly string[],
): Promise<RunResult> {
  const program = programs[family].save.replace(/-save$/, "");
  const all = ["-w", String(LOCK_WAIT_SECONDS), "-t", table, ...args];
  return runIptables(program, all, signal && { signal });
}
