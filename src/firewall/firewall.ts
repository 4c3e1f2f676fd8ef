/**
 * What the rest of the program may use of the firewall: the desired rules (`firewallRules`), the
 * manager that keeps them in iptables or nftables, its errors, and a check of the host.
 */

import { existsSync } from "node:fs";
import { assertNever } from "../base/assert_never.ts";
import { familiesOf, type PerFamily } from "../addr/family.ts";
import type { Family } from "../addr/ip.ts";
import type { Log } from "../log/log.ts";
import { IPTABLES_PROGRAMS, type IptablesPrograms } from "./iptables/iptables_programs.ts";
import { openIptables } from "./iptables/iptables_target.ts";
import {
  type FirewallManager,
  type FirewallManagerOptions,
  startFirewallManager,
} from "./firewall_manager.ts";
import { OtherFirewalls } from "./other_firewalls.ts";
import { openNftables } from "./nftables/nftables_target.ts";
import { FirewallError, type RuleTarget } from "./rules/rule_target.ts";

export type { FirewallManager } from "./firewall_manager.ts";
export {
  type FirewallRuleOptions,
  type FirewallRules,
  firewallRules,
} from "./rules/firewall_rules.ts";
export type { FirewallStatus } from "./sync_state.ts";
export { FirewallError } from "./rules/rule_target.ts";

export type FirewallMode = "iptables" | "nftables";

export interface FirewallOptions
  extends Omit<FirewallManagerOptions, "target" | "unusedTarget" | "otherFirewalls"> {
  /** `EnableNFTables` */
  readonly mode: FirewallMode;
  /** The programs of iptables; by default, the system's. */
  readonly programs?: IptablesPrograms;
  /** How often to look for other firewalls of the host that drop our packets. */
  readonly otherFirewallsCheckMs?: number;
}

/**
 * Starts a manager for the mode's target, without rules until `setRules`. Once they are installed,
 * rules in the other mode's target are removed. Throws `FirewallError`, with the package to
 * install, if the target is missing.
 */
export async function createFirewallManager(options: FirewallOptions): Promise<FirewallManager> {
  const { mode, programs = IPTABLES_PROGRAMS, otherFirewallsCheckMs, ...rest } = options;
  const target = await openTarget(mode, programs);
  const unusedMode = mode === "iptables" ? "nftables" : "iptables";
  const unusedTarget = await openUnused(unusedMode, programs, rest.log);
  const otherFirewalls = new OtherFirewalls({
    target,
    checkMs: otherFirewallsCheckMs,
    clock: rest.clock,
    log: rest.log,
  });
  return await startFirewallManager({
    ...rest,
    target,
    otherFirewalls,
    ...(unusedTarget && { unusedTarget }),
  });
}

/**
 * Why iptables does not see bridged packets in this network namespace, and what to do; `undefined`
 * if it does. Kubernetes services need it between pods of one node (br_netfilter;
 * https://www.kernel.org/doc/html/latest/networking/ip-sysctl.html, bridge-nf-call-iptables).
 */
export function bridgeNetfilterProblem(
  families: PerFamily<unknown>,
  procSys: string = "/proc/sys",
): string | undefined {
  const missing = familiesOf(families)
    .map((family) => `${procSys}/net/bridge/${BRIDGE_SYSCTLS[family]}`)
    .find((path) => !existsSync(path));
  return missing &&
    `iptables mode needs the kernel module br_netfilter: ${missing} is missing; ` +
      `run "modprobe br_netfilter", or set EnableNFTables in the network configuration`;
}

const BRIDGE_SYSCTLS: Readonly<Record<Family, string>> = {
  4: "bridge-nf-call-iptables",
  6: "bridge-nf-call-ip6tables",
};

async function openTarget(mode: FirewallMode, programs: IptablesPrograms): Promise<RuleTarget> {
  switch (mode) {
    case "iptables":
      return await openIptables(programs);
    case "nftables":
      return openNftables();
    default:
      return assertNever(mode);
  }
}

/** If a target is missing, there are no rules in it. */
async function openUnused(
  mode: FirewallMode,
  programs: IptablesPrograms,
  log: Log,
): Promise<RuleTarget | undefined> {
  try {
    return await openTarget(mode, programs);
  } catch (error) {
    if (!(error instanceof FirewallError)) throw error;
    log.debug(`not checking for ${mode} rules of the previous run: ${error.message}`);
    return undefined;
  }
}
