/**
 * Detects other firewalls of this host that drop packets that our rules accept.
 *
 * A packet traverses every table at the hook `forward`, of iptables-legacy and of nftables. If one table
 * drops it, it is lost, whatever the others accept. Docker, or a distribution that changed from one variant
 * of iptables to the other, may leave a policy of DROP in a table without our rules. The daemon does not
 * change other programs' rules; it logs a warning once, and again when the finding changes.
 */

import { readFileSync } from "node:fs";
import { familiesOf } from "../addr/family.ts";
import type { Family } from "../addr/ip.ts";
import type { Prefix } from "../addr/prefix.ts";
import type { Log } from "../log/log.ts";
import { findProgram } from "../process/program_lookup.ts";
import { runIptables } from "./iptables/iptables_reader.ts";
import { forwardRefusal } from "./iptables/iptables_rules.ts";
import { parseIptablesSave } from "./iptables/iptables_save.ts";
import { findNftRunner, type NftRunner } from "./nftables/nft_runner.ts";
import {
  admitsNetwork,
  type ForwardChain,
  LIST_CHAINS_COMMAND,
  nftTableName,
  readForwardChains,
  refusesAll,
} from "./nftables/nftables_rules.ts";
import type { FamilyRules, FirewallRules } from "./rules/firewall_rules.ts";
import { FirewallError } from "./rules/rule_target.ts";

export interface OtherFirewallsOptions {
  /** `RuleTarget.name` of the target with our rules. */
  readonly target: string;
  /** `changed()` is called when rules of nftables change. */
  readonly isAnnounced: boolean;
  readonly periodMs?: number;
  readonly log: Log;
}

const PERIOD_MS = 60_000;
/** The pause after a check, as a multiple of its duration: checks take a hundredth of the time at most. */
const PAUSE_PER_LOOK = 100;

export class OtherFirewalls implements AsyncDisposable {
  readonly #options: OtherFirewallsOptions;
  #rules: FirewallRules | undefined;
  #hasChanged = true;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #work: Promise<void> | undefined;
  readonly #abort = new AbortController();
  /** What the last look at nftables found. */
  readonly #inNftables = new Map<Family, readonly string[]>();
  #warned: ReadonlySet<string> = new Set();

  constructor(options: OtherFirewallsOptions) {
    this.#options = options;
  }

  /** Our rules are in place: checks now, and periodically from now on. */
  follow(rules: FirewallRules): void {
    if (this.#rules === rules) return;
    this.#rules = rules;
    this.#hasChanged = true;
    this.#schedule(0);
  }

  /** A rule, chain or table of nftables has changed. */
  changed(): void {
    this.#hasChanged = true;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#abort.abort(new Error("the traffic manager was stopped"));
    clearTimeout(this.#timer);
    await this.#work;
  }

  #schedule(delayMs: number): void {
    if (this.#work !== undefined || this.#abort.signal.aborted) return;
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => {
      const begunMs = performance.now();
      this.#work = this.#look().finally(() => {
        this.#work = undefined;
        const pauseMs = (performance.now() - begunMs) * PAUSE_PER_LOOK;
        this.#schedule(Math.max(this.#options.periodMs ?? PERIOD_MS, pauseMs));
      });
    }, delayMs);
  }

  async #look(): Promise<void> {
    const { log, target, isAnnounced } = this.#options;
    const isNftKnown = isAnnounced && !this.#hasChanged;
    this.#hasChanged = false;
    try {
      const found: string[] = [];
      for (const family of familiesOf(this.#rules ?? {})) {
        const rules = this.#rules?.[family] as FamilyRules;
        // Without forward rules of ours, forwarding is deliberately left to other programs.
        if (rules.forward.length === 0) continue;
        if (!target.includes("legacy")) found.push(...await this.#lookAtLegacy(family, rules));
        if (!isNftKnown) this.#inNftables.set(family, await lookAtNftables(target, family, rules));
        found.push(...this.#inNftables.get(family) ?? []);
      }
      this.#report(new Set(found));
    } catch (error) {
      if (this.#abort.signal.aborted) return;
      this.#hasChanged = true;
      // Not important: the program may be missing, or its output unknown.
      log.debug(`cannot look at other firewalls: ${(error as Error).message}`);
    }
  }

  /** Reads only legacy tables that exist: iptables-legacy would create the others. */
  async #lookAtLegacy(family: Family, { network }: FamilyRules): Promise<string[]> {
    const program = LEGACY_SAVE[family];
    if (!legacyTables(family).includes("filter") || findProgram(program) === undefined) return [];
    const { stdout } = await runIptables(program, ["-t", "filter"], { signal: this.#abort.signal });
    const { tables, policies } = parseIptablesSave(stdout);
    const chains = tables.get("filter") ?? new Map<string, string[]>();
    const refusal = forwardRefusal({ chains, policy: policies.get("filter FORWARD"), network });
    if (refusal === undefined) return [];
    const command = program.replace(/-save$/, "");
    return [
      `${command} drops forwarded packets in its chain FORWARD (${refusal}), although our rules in ` +
      `${this.#options.target} accept them; if nothing else needs ${command}, use only one variant ` +
      `of iptables, otherwise run "${command} -I FORWARD -s ${network} -j ACCEPT" and ` +
      `"${command} -I FORWARD -d ${network} -j ACCEPT"`,
    ];
  }

  #report(found: ReadonlySet<string>): void {
    for (const text of found.difference(this.#warned)) this.#options.log.warn(text);
    if (found.size === 0 && this.#warned.size > 0) {
      this.#options.log.info("no other firewall of this host drops our forwarded packets any more");
    }
    this.#warned = found;
  }
}

const LEGACY_SAVE: Readonly<Record<Family, string>> = {
  4: "iptables-legacy-save",
  6: "ip6tables-legacy-save",
};
const LEGACY_NAMES: Readonly<Record<Family, string>> = {
  4: "/proc/net/ip_tables_names",
  6: "/proc/net/ip6_tables_names",
};
/** The legacy tables of this network namespace; none if the module is not loaded. */
function legacyTables(family: Family): string[] {
  try {
    return readFileSync(LEGACY_NAMES[family], "utf8").split("\n");
  } catch {
    return [];
  }
}

async function lookAtNftables(
  target: string,
  family: Family,
  { network }: FamilyRules,
): Promise<string[]> {
  const runner = optionalRunner();
  if (runner === undefined) return [];
  const chains = readForwardChains(await runner.list(LIST_CHAINS_COMMAND))
    .filter((chain) => isOther(chain, target, family));
  const found: string[] = [];
  for (const chain of chains) {
    const reason = await refusalOf(runner, chain, network);
    if (reason === undefined) continue;
    found.push(
      `nftables drops forwarded IPv${family} packets in the chain ${chain.name} of the table ` +
        `${chain.family} ${chain.table} (${reason}), although our rules in ${target} accept them; ` +
        `let that table accept ${network}`,
    );
  }
  return found;
}

async function refusalOf(
  runner: NftRunner,
  { family, table, name, drops }: ForwardChain,
  network: Prefix,
): Promise<string | undefined> {
  try {
    if (!drops && !refusesAll(await runner.list(`list chain ${family} ${table} ${name}`))) {
      return undefined;
    }
    // Only tables that drop packets are read: a table may have tens of thousands of rules.
    if (admitsNetwork(await runner.list(`list table ${family} ${table}`), network)) {
      return undefined;
    }
    return drops ? "its policy is drop" : "a rule drops every packet";
  } catch (error) {
    // It has been deleted, or its name is a keyword of nft, which cannot be listed.
    if (error instanceof FirewallError) return undefined;
    throw error;
  }
}

function optionalRunner(): NftRunner | undefined {
  try {
    return findNftRunner();
  } catch (error) {
    if (error instanceof FirewallError) return undefined;
    throw error;
  }
}

/** Whether it sees packets of the family and is not in the table with our own rules. */
function isOther(chain: ForwardChain, target: string, family: Family): boolean {
  const own = family === 4 ? "ip" : "ip6";
  if (chain.family !== "inet" && chain.family !== own) return false;
  if (chain.table === nftTableName(family)) return false;
  // Both are used in a command.
  if (![chain.table, chain.name].every((name) => PLAIN_NAME.test(name))) return false;
  return !(target === "iptables (nf_tables)" && chain.family === own && chain.table === "filter");
}

/** A name that nft(8) accepts without quotes. */
const PLAIN_NAME = /^[A-Za-z_][\w./-]*$/;
