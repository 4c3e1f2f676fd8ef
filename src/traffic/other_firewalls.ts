/**
 * Other firewalls of this host that refuse what our rules accept.
 *
 * A packet passes every table at the hook `forward`, of iptables-legacy and of nftables: dropped by
 * one, it is dropped, whatever the others accept. Docker and distributions that changed from one kind
 * of iptables to the other leave a policy of DROP where our rules are not. That is theirs to change,
 * so it is warned of: once, and again when it is another.
 */

import { readFileSync } from "node:fs";
import { familiesOf } from "../addr/family.ts";
import type { Family } from "../addr/ip.ts";
import type { Prefix } from "../addr/prefix.ts";
import type { Log } from "../log/log.ts";
import { findProgram } from "../process/programs.ts";
import { runIptables } from "./iptables_reading.ts";
import { forwardRefusal } from "./iptables_rules.ts";
import { parseIptablesSave } from "./iptables_save.ts";
import { findNftRunner, type NftRunner } from "./nft_runner.ts";
import {
  admitsNetwork,
  type ForwardChain,
  LIST_CHAINS_COMMAND,
  nftTableName,
  readForwardChains,
  refusesAll,
} from "./nftables_rules.ts";
import type { FamilyRules, TrafficRules } from "./rules.ts";
import { TrafficError } from "./target.ts";

export interface OtherFirewallsOptions {
  /** `RuleTarget.name` of where our rules are. */
  readonly target: string;
  /** `changed()` is called when rules of nftables change. */
  readonly isAnnounced: boolean;
  readonly periodMs?: number;
  readonly log: Log;
}

const PERIOD_MS = 60_000;
/** Looking takes a hundredth of the time at most. */
const PAUSE_PER_LOOK = 100;

export class OtherFirewalls implements AsyncDisposable {
  readonly #options: OtherFirewallsOptions;
  #rules: TrafficRules | undefined;
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

  /** Our rules are in: looks now, and again whenever there may be something new. */
  follow(rules: TrafficRules): void {
    if (this.#rules === rules) return;
    this.#rules = rules;
    this.#hasChanged = true;
    this.#schedule(0);
  }

  /** Some rule, chain or table of nftables is another. */
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
        // Without rules of ours there, forwarding is left to others on purpose.
        if (rules.forward.length === 0) continue;
        if (!target.includes("legacy")) found.push(...await this.#lookAtLegacy(family, rules));
        if (!isNftKnown) this.#inNftables.set(family, await lookAtNftables(target, family, rules));
        found.push(...this.#inNftables.get(family) ?? []);
      }
      this.#report(new Set(found));
    } catch (error) {
      if (this.#abort.signal.aborted) return;
      this.#hasChanged = true;
      // Nothing depends on it: there may be no such program, or a listing of an unknown kind.
      log.debug(`cannot look at other firewalls: ${(error as Error).message}`);
    }
  }

  /** Legacy tables are there when something has used them; to ask for others would make them. */
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
      `${command} refuses forwarded packets in its chain FORWARD (${refusal}), whatever our rules ` +
      `in ${this.#options.target} accept; if nothing else needs ${command}, use one kind of ` +
      `iptables only, else run "${command} -I FORWARD -s ${network} -j ACCEPT" and ` +
      `"${command} -I FORWARD -d ${network} -j ACCEPT"`,
    ];
  }

  #report(found: ReadonlySet<string>): void {
    for (const text of found.difference(this.#warned)) this.#options.log.warn(text);
    if (found.size === 0 && this.#warned.size > 0) {
      this.#options.log.info("no other firewall of this host refuses forwarded packets any more");
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
/** The legacy tables that this network namespace has; none where the module is not loaded. */
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
      `nftables refuses IPv${family} packets in the chain ${chain.name} of the table ` +
        `${chain.family} ${chain.table} (${reason}), whatever our rules in ${target} accept; ` +
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
    // Only what refuses is looked at further: a table may have tens of thousands of rules.
    if (admitsNetwork(await runner.list(`list table ${family} ${table}`), network)) {
      return undefined;
    }
    return drops ? "its policy is drop" : "a rule refuses every packet";
  } catch (error) {
    // It has gone meanwhile, or its name is a word of nft's own, which cannot be asked for.
    if (error instanceof TrafficError) return undefined;
    throw error;
  }
}

function optionalRunner(): NftRunner | undefined {
  try {
    return findNftRunner();
  } catch (error) {
    if (error instanceof TrafficError) return undefined;
    throw error;
  }
}

/** It sees packets of the family, and is not where our own rules are and are kept in force. */
function isOther(chain: ForwardChain, target: string, family: Family): boolean {
  const own = family === 4 ? "ip" : "ip6";
  if (chain.family !== "inet" && chain.family !== own) return false;
  if (chain.table === nftTableName(family)) return false;
  // Both become part of a command.
  if (![chain.table, chain.name].every((name) => PLAIN_NAME.test(name))) return false;
  return !(target === "iptables (nf_tables)" && chain.family === own && chain.table === "filter");
}

/** As nft(8) reads it without quotes. */
const PLAIN_NAME = /^[A-Za-z_][\w./-]*$/;
