/** Rules in iptables, through iptables-save and iptables-restore; see `iptables_rules.ts`. */

import type { PerFamily } from "../addr/family.ts";
import { FAMILIES, type Family } from "../addr/ip.ts";
import { ProcessError, run, type RunResult } from "../process/process.ts";
import { IPTABLES_CHAINS, iptablesCorrection, parseIptablesSave } from "./iptables_rules.ts";
import { type EnsureRequest, type NftChange, type RuleTarget, TrafficError } from "./target.ts";

export type IptablesPrograms = Required<
  PerFamily<{ readonly save: string; readonly restore: string }>
>;

export const IPTABLES_PROGRAMS: IptablesPrograms = {
  4: { save: "iptables-save", restore: "iptables-restore" },
  6: { save: "ip6tables-save", restore: "ip6tables-restore" },
};

/**
 * Finds out which kind of iptables this is: one starts a program. Throws `TrafficError` where
 * iptables is missing, with the package that has it.
 */
export async function openIptables(
  programs: IptablesPrograms = IPTABLES_PROGRAMS,
): Promise<RuleTarget> {
  const { stdout } = await runChecked(programs[4].save, ["--version"]);
  // Before 1.8 there was only one kind, and it said nothing.
  const isNft = stdout.includes("(nf_tables)");
  return {
    name: isNft ? "iptables (nf_tables)" : "iptables (legacy)",
    isWatched: isNft,
    ensure: (request) => ensure(programs, request),
    concerns: concernsIptables,
    [Symbol.dispose]: () => {},
  };
}

/** How long iptables waits for another that holds the lock. */
const LOCK_WAIT_SECONDS = 5;
/** Exit status of iptables when it waited in vain for the lock. */
const EXIT_LOCKED = 4;
const RUN_TIMEOUT_MS = 20_000;
/** A node with 100 000 rules of other programs must not be too large to look at. */
const MAX_SAVE_BYTES = 256 * 1024 * 1024;

async function ensure(programs: IptablesPrograms, request: EnsureRequest): Promise<boolean> {
  const { family } = request;
  const input = await correction(programs, request);
  if (input === undefined) return false;
  await runChecked(programs[family].restore, ["--noflush", "-w", String(LOCK_WAIT_SECONDS)], {
    stdin: input,
    ...(request.signal && { signal: request.signal }),
  });
  if (await correction(programs, request) !== undefined) {
    throw new TrafficError(
      `cannot set up IPv${family} iptables rules: they do not stay as ${
        programs[family].restore
      } was told; another program seems to change them at the same time`,
    );
  }
  return true;
}

async function correction(
  programs: IptablesPrograms,
  { family, rules, networks, signal, onRead }: EnsureRequest,
): Promise<string | undefined> {
  onRead?.();
  const program = programs[family].save;
  const { stdout } = await runChecked(program, [], signal && { signal });
  try {
    return iptablesCorrection({ state: parseIptablesSave(stdout), rules, networks });
  } catch (cause) {
    throw new TrafficError(`cannot read iptables rules: ${(cause as Error).message}`, { cause });
  }
}

async function runChecked(
  program: string,
  args: readonly string[],
  options: { readonly stdin?: string; readonly signal?: AbortSignal } = {},
): Promise<RunResult> {
  let result: RunResult;
  try {
    result = await run(program, args, {
      timeoutMs: RUN_TIMEOUT_MS,
      maxOutputBytes: MAX_SAVE_BYTES,
      ...options,
    });
  } catch (cause) {
    if (!(cause instanceof ProcessError)) throw cause;
    throw new TrafficError(`cannot use iptables: ${cause.message}`, { cause });
  }
  if (result.exitCode === 0) return result;
  const reason = result.stderr.trim().replaceAll(/\s*\n\s*/g, "; ");
  if (result.exitCode === EXIT_LOCKED) {
    throw new TrafficError(
      `cannot use iptables: another program has held the xtables lock for more than ` +
        `${LOCK_WAIT_SECONDS} s (${reason})`,
    );
  }
  throw new TrafficError(
    `cannot use iptables: ${program} ended with status ${result.exitCode}: ${reason}`,
  );
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
