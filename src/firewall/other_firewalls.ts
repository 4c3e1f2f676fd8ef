/**
 * Detects other firewalls of this host that drop packets that our rules accept.
 *
 * A packet traverses each table at the hook `forward`, of iptables-legacy and of nftables. If one
 * table drops it, it is lost, whatever the others accept. Docker, or a distribution that changed
 * from one variant of iptables to the other, may leave a policy of DROP in a table without our
 * rules. The daemon does not change other programs' rules; it logs a warning once, and again when
 * the finding changes.
 */

import { readFileSync } from "node:fs";
import { entriesOf } from "../addr/family.ts";
import type { Family } from "../addr/ip.ts";
import type { Prefix } from "../addr/prefix.ts";
import type { Clock } from "../base/clock.ts";
import { errorMessage } from "../base/operator_error.ts";
import type { Log } from "../log/log.ts";
import { findProgram } from "../process/program_lookup.ts";
import { runIptables } from "./iptables/iptables_programs.ts";
import { forwardDropReason } from "./iptables/forward_path.ts";
import { parseIptablesSave } from "./iptables/iptables_save.ts";
import { findNftRunner, type NftRunner } from "./nftables/nft_runner.ts";
import {
  acceptsNetwork,
  dropsEverything,
  type ForwardChain,
  LIST_CHAINS_COMMAND,
  readForwardChains,
} from "./nftables/foreign_rules.ts";
import { nftFamily } from "./nftables/nft_listing.ts";
import { nftTableName } from "./nftables/nftables_rules.ts";
import type { FamilyRules, FirewallRules } from "./rules/firewall_rules.ts";
import { FirewallError, type RuleTarget, type RuleTargetKind } from "./rules/rule_target.ts";

export interface OtherFirewallsOptions {
  /** The target with our rules. */
  readonly target: Pick<RuleTarget, "name" | "kind" | "announcesChanges">;
  readonly checkMs?: number | undefined;
  readonly clock: Clock;
  readonly log: Log;
}

const CHECK_MS = 60_000;
/** The delay after a check, as a multiple of its duration: checks take 1 % of the time at most. */
const DELAY_PER_CHECK = 100;

export class OtherFirewalls implements AsyncDisposable {
  readonly #options: OtherFirewallsOptions;
  #rules: FirewallRules | undefined;
  #hasChanged = true;
  #timer: Disposable | undefined;
  #work: Promise<void> | undefined;
  readonly #abort = new AbortController();
  /** The findings of the last check of nftables. */
  readonly #inNftables = new Map<Family, readonly string[]>();
  #warned: ReadonlySet<string> = new Set();

  constructor(options: OtherFirewallsOptions) {
    this.#options = options;
  }

  /** Our rules are installed: checks now and then periodically. */
  follow(rules: FirewallRules): void {
    if (this.#rules === rules) return;
    this.#rules = rules;
    this.#hasChanged = true;
    this.#schedule(0);
  }

  /** A rule, chain or table of nftables may have changed. */
  rulesChanged(): void {
    this.#hasChanged = true;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#abort.abort(new Error("the firewall manager was stopped"));
    this.#timer?.[Symbol.dispose]();
    await this.#work;
  }

  #schedule(delayMs: number): void {
    if (this.#work !== undefined || this.#abort.signal.aborted) return;
    const { clock, checkMs = CHECK_MS } = this.#options;
    this.#timer?.[Symbol.dispose]();
    this.#timer = clock.setTimer(delayMs, () => {
      const startedAtMs = clock.nowMs();
      this.#work = this.#check().finally(() => {
        this.#work = undefined;
        this.#schedule(Math.max(checkMs, (clock.nowMs() - startedAtMs) * DELAY_PER_CHECK));
      });
    });
  }

  async #check(): Promise<void> {
    const { log, target } = this.#options;
    const isNftKnown = target.announcesChanges && !this.#hasChanged;
    this.#hasChanged = false;
    try {
      const found: string[] = [];
      for (const [family, rules] of entriesOf(this.#rules ?? {})) {
        // Without forward rules of ours, forwarding is deliberately left to other programs.
        if (rules.forward.length === 0) continue;
        if (target.kind !== "iptables-legacy") {
          found.push(...await this.#checkLegacy(family, rules));
        }
        if (!isNftKnown) this.#inNftables.set(family, await checkNftables(target, family, rules));
        found.push(...this.#inNftables.get(family) ?? []);
      }
      this.#report(new Set(found));
    } catch (error) {
      if (this.#abort.signal.aborted) return;
      this.#hasChanged = true;
      // Not important: the program may be missing, or its output may be unknown.
      log.debug(`cannot check other firewalls: ${errorMessage(error)}`);
    }
  }

  /** Reads only legacy tables that exist: iptables-legacy would create the others. */
  async #checkLegacy(family: Family, { network }: FamilyRules): Promise<string[]> {
    const program = LEGACY_SAVE[family];
    if (!legacyTables(family).includes("filter") || findProgram(program) === undefined) return [];
    const { stdout } = await runIptables(program, ["-t", "filter"], { signal: this.#abort.signal });
    const { tables, policies } = parseIptablesSave(stdout);
    const chains = tables.get("filter") ?? new Map<string, string[]>();
    const reason = forwardDropReason({ chains, policy: policies.get("filter FORWARD"), network });
    if (reason === undefined) return [];
    const command = program.replace(/-save$/, "");
    return [
      `${command} drops forwarded packets in its chain FORWARD (${reason}), although flanneld's ` +
      `rules in ${this.#options.target.name} accept them; if nothing else needs ${command}, use ` +
      `only one variant of iptables, otherwise run "${command} -I FORWARD -s ${network} -j ` +
      `ACCEPT" and "${command} -I FORWARD -d ${network} -j ACCEPT"`,
    ];
  }

  #report(found: ReadonlySet<string>): void {
    for (const text of found.difference(this.#warned)) this.#options.log.warn(text);
    if (found.size === 0 && this.#warned.size > 0) {
      this.#options.log.info(
        "no other firewall of this host drops forwarded packets of the network any longer",
      );
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

async function checkNftables(
  target: OtherFirewallsOptions["target"],
  family: Family,
  { network }: FamilyRules,
): Promise<string[]> {
  const runner = optionalRunner();
  if (runner === undefined) return [];
  const chains = readForwardChains(await runner.list(LIST_CHAINS_COMMAND))
    .filter((chain) => isOther(chain, target.kind, family));
  const found: string[] = [];
  for (const chain of chains) {
    const reason = await dropReason(runner, chain, network);
    if (reason === undefined) continue;
    found.push(
      `nftables drops forwarded IPv${family} packets in the chain ${chain.name} of the table ` +
        `${chain.family} ${chain.table} (${reason}), although flanneld's rules in ${target.name} ` +
        `accept them; let that table accept ${network}`,
    );
  }
  return found;
}

/** Why the chain drops packets of the network; `undefined` if it does not. */
async function dropReason(
  runner: NftRunner,
  { family, table, name, isPolicyDrop }: ForwardChain,
  network: Prefix,
): Promise<string | undefined> {
  try {
    const listing = () => runner.list(`list chain ${family} ${table} ${name}`);
    if (!isPolicyDrop && !dropsEverything(await listing())) return undefined;
    // Only tables that drop packets are read completely: there may be tens of thousands of rules.
    if (acceptsNetwork(await runner.list(`list table ${family} ${table}`), network)) {
      return undefined;
    }
    return isPolicyDrop ? "its policy is drop" : "a rule drops every packet";
  } catch (error) {
    // It has been deleted, or its name is a keyword of nft and cannot be listed.
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

/** Whether the chain sees packets of the family and is not in the table with our own rules. */
function isOther(chain: ForwardChain, kind: RuleTargetKind, family: Family): boolean {
  const own = nftFamily(family);
  if (chain.family !== "inet" && chain.family !== own) return false;
  if (chain.table === nftTableName(family)) return false;
  // Both names become part of a command.
  if (![chain.table, chain.name].every((name) => PLAIN_NAME.test(name))) return false;
  return !(kind === "iptables-nft" && chain.family === own && chain.table === "filter");
}

/** A name that nft(8) accepts without quotes. */
const PLAIN_NAME = /^[A-Za-z_][\w./-]*$/;
