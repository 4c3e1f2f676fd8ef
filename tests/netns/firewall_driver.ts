/**
 * Runs a firewall manager in the network namespace in which it is started, until standard input
 * ends. Requests and responses are lines of JSON; see `firewall_support.ts`.
 */

import { createInterface } from "node:readline";
import { processStarts } from "../../src/process/run_program.ts";
import { systemClock } from "../../src/base/clock.ts";
import { createLogger } from "../../src/log/logger.ts";
import type { Log } from "../../src/log/log.ts";
import { startFirewallManager } from "../../src/firewall/firewall_manager.ts";
import { findNftRunner } from "../../src/firewall/nftables/nft_runner.ts";
import { openNftables } from "../../src/firewall/nftables/nftables_target.ts";
import {
  createFirewallManager,
  type FirewallManager,
  type FirewallOptions,
  type FirewallRules,
} from "../../src/firewall/firewall.ts";

export interface DriverOptions extends Omit<FirewallOptions, "clock" | "log" | "onStatus"> {
  /** Behave as on a machine without it. */
  readonly withoutLibnftables?: boolean;
  /** The program to use instead. */
  readonly nft?: string;
}

export type DriverCommand =
  /** The response follows when the rules are installed. */
  | { readonly op: "set"; readonly rules: FirewallRules }
  | { readonly op: "stats" };

export interface DriverAnswer {
  readonly processStarts: number;
  readonly cpuMs: number;
  readonly isInSync: boolean;
  readonly problem?: string;
  /** An error that ended the driver. */
  readonly failure?: string;
}

const say = (answer: DriverAnswer) => process.stdout.write(`${JSON.stringify(answer)}\n`);
const cpuMs = () => {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1000;
};

async function main(): Promise<void> {
  const options = JSON.parse(process.argv[2] ?? "{}") as DriverOptions;
  const log = createLogger({ format: "text", verbosity: 1 });
  await using manager = await startManager(options, log);
  const answer = () => say({ processStarts: processStarts(), cpuMs: cpuMs(), ...manager.status() });
  answer();
  for await (const line of createInterface({ input: process.stdin })) {
    const command = JSON.parse(line) as DriverCommand;
    if (command.op === "set") {
      manager.setRules(command.rules);
      await manager.whenInstalled(AbortSignal.timeout(10_000)).catch(() => {});
    }
    answer();
  }
}

async function startManager(options: DriverOptions, log: Log): Promise<FirewallManager> {
  const { withoutLibnftables, nft: program = "nft", ...rest } = options;
  if (!withoutLibnftables) return await createFirewallManager({ ...rest, clock: systemClock, log });
  const library = () => {
    throw new Error("libnftables.so.1 is hidden by this test");
  };
  const target = openNftables(findNftRunner({ library, program }));
  return await startFirewallManager({ ...rest, target, clock: systemClock, log });
}

try {
  await main();
} catch (error) {
  say({ processStarts: processStarts(), cpuMs: cpuMs(), isInSync: false, failure: String(error) });
}
process.exit(0);
