/** Traffic rules for the daemon: opens the system that the mode asks for and keeps rules in it. */

import { existsSync } from "node:fs";
import { assertNever } from "../base/assert_never.ts";
import { familiesOf, type PerFamily } from "../addr/family.ts";
import type { Family } from "../addr/ip.ts";
import type { Log } from "../log/log.ts";
import { IPTABLES_PROGRAMS, openIptables } from "./iptables/iptables_target.ts";
import type { IptablesPrograms } from "./iptables/iptables_reader.ts";
import {
  type FirewallManager,
  type FirewallManagerOptions,
  manageFirewall,
} from "./firewall_manager.ts";
import { OtherFirewalls } from "./other_firewalls.ts";
import { openNftables } from "./nftables/nftables_target.ts";
import { FirewallError, type RuleTarget } from "./rules/rule_target.ts";

export type { FirewallManager, FirewallStatus } from "./firewall_manager.ts";
export { FirewallError } from "./rules/rule_target.ts";

export type FirewallMode = "iptables" | "nftables";

export interface FirewallOptions
  extends Omit<FirewallManagerOptions, "target" | "unused" | "others"> {
  /** `EnableNFTables` */
  readonly mode: FirewallMode;
  /** By default the system's. */
  readonly programs?: IptablesPrograms;
  /** How often other firewalls of the host are checked. */
  readonly othersPeriodMs?: number;
}

/**
 * Opens the system for the mode; its rules come with `setRules`. The other mode's rules are removed
 * once ours are in. Throws `FirewallError`, with the package to install, when the system is missing.
 */
export async function createFirewallManager(options: FirewallOptions): Promise<FirewallManager> {
  const { mode, programs = IPTABLES_PROGRAMS, othersPeriodMs: periodMs, ...rest } = options;
  const target = await openTarget(mode, programs);
  const unused = await openUnused(
    mode === "iptables" ? "nftables" : "iptables",
    programs,
    rest.log,
  );
  const others = new OtherFirewalls({
    target: target.name,
    isAnnounced: target.isWatched,
    ...(periodMs !== undefined && { periodMs }),
    log: rest.log,
  });
  return await manageFirewall({ ...rest, target, others, ...(unused && { unused }) });
}

/**
 * Why iptables does not see bridged packets in this network namespace, with the remedy; `undefined`
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

/** Where a system is missing, nobody has put rules into it. */
async function openUnused(
  mode: FirewallMode,
  programs: IptablesPrograms,
  log: Log,
): Promise<RuleTarget | undefined> {
  try {
    return await openTarget(mode, programs);
  } catch (error) {
    if (!(error instanceof FirewallError)) throw error;
    log.debug(`not looking for old ${mode} rules: ${error.message}`);
    return undefined;
  }
}
