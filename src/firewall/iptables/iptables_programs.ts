/** Runs the programs of iptables. */

import type { PerFamily } from "../../addr/family.ts";
import { CAP_NET_RAW, lacksCapability } from "../../process/capabilities.ts";
import { ProcessError } from "../../process/process_error.ts";
import { runProgram, type RunResult } from "../../process/run_program.ts";
import { FirewallError, firewallErrorKind } from "../rules/rule_target.ts";

export type IptablesPrograms = Required<
  PerFamily<{ readonly save: string; readonly restore: string }>
>;

/** The programs of the system, of whichever kind they are. */
export const IPTABLES_PROGRAMS: IptablesPrograms = {
  4: { save: "iptables-save", restore: "iptables-restore" },
  6: { save: "ip6tables-save", restore: "ip6tables-restore" },
};

/** How long iptables waits for another process that holds the lock. */
export const LOCK_WAIT_SECONDS = 5;

/** The exit status of iptables if it cannot get the lock in time. */
export const EXIT_LOCKED = 4;
const RUN_TIMEOUT_MS = 20_000;
/** A node with 100 000 rules of other programs is within the limit. */
const MAX_SAVE_BYTES = 256 * 1024 * 1024;

/**
 * Runs a program of iptables; any exit status is a result. Throws `FirewallError` if it cannot run.
 */
export async function runIptables(
  program: string,
  args: readonly string[],
  options: { readonly stdin?: string; readonly signal?: AbortSignal } = {},
): Promise<RunResult> {
  try {
    return await runProgram(program, args, {
      timeoutMs: RUN_TIMEOUT_MS,
      maxOutputBytes: MAX_SAVE_BYTES,
      ...options,
    });
  } catch (cause) {
    if (!(cause instanceof ProcessError)) throw cause;
    throw new FirewallError(`cannot use iptables: ${cause.message}`, { cause });
  }
}

/** The error for a program that failed; `status` is /proc/self/status. */
export function iptablesFailure(
  program: string,
  result: RunResult,
  status?: string,
): FirewallError {
  const reason = stderrText(result);
  if (result.exitCode === EXIT_LOCKED) {
    return new FirewallError(
      `cannot use iptables: another program has held the xtables lock for more than ` +
        `${LOCK_WAIT_SECONDS} s (${reason})`,
    );
  }
  const hint = rawSocketHint(reason, status);
  return new FirewallError(
    `cannot use iptables: ${program} exited with status ${result.exitCode}: ${reason}${hint}`,
    { kind: firewallErrorKind(reason) },
  );
}

/** iptables-legacy talks to the kernel through a raw socket, and reports that it has no table. */
function rawSocketHint(reason: string, status: string | undefined): string {
  if (!/initialize|you must be root/.test(reason) || !lacksCapability(CAP_NET_RAW, status)) {
    return "";
  }
  return "; missing CAP_NET_RAW, which iptables-legacy needs: grant it " +
    "(CapabilityBoundingSet= and AmbientCapabilities= in a systemd unit, " +
    "securityContext.capabilities of a container), or use iptables-nft";
}

/** What a program printed to standard error, as one line. */
export function stderrText({ stderr }: RunResult): string {
  return stderr.trim().replaceAll(/\s*\n\s*/g, "; ");
}
