/**
 * Keeps the desired rules in the kernel: installs them, and repairs them when another program
 * modifies them. `RuleWatcher` notices changes, `CheckPace` limits what checks cost and
 * `RepairLimiter` what repairs cost, `RuleRepairer` reads and writes, `SyncState` knows the result.
 */

import type { PerFamily } from "../addr/family.ts";
import { FAMILIES, type Family } from "../addr/ip.ts";
import type { Prefix } from "../addr/prefix.ts";
import type { Clock } from "../base/clock.ts";
import { RepairLimiter } from "../base/repair_limiter.ts";
import type { Log } from "../log/log.ts";
import { RepeatedFailure } from "../log/repeated_failure.ts";
import { CheckPace } from "./check_pace.ts";
import type { OtherFirewalls } from "./other_firewalls.ts";
import { RuleRepairer } from "./rule_repairer.ts";
import { RuleWatcher } from "./rule_watcher.ts";
import type { FirewallRules } from "./rules/firewall_rules.ts";
import { type RuleTarget, UnreadableTableError } from "./rules/rule_target.ts";
import { type FirewallStatus, SyncState } from "./sync_state.ts";

export interface FirewallManager extends AsyncDisposable {
  /** Sets the desired rules. Returns at once; the work follows. */
  setRules(rules: FirewallRules): void;
  /**
   * Resolves when the desired rules are in the kernel, or when only an operator can fix the rest,
   * which `status()` describes. Rejects with the signal's reason.
   */
  whenInstalled(signal?: AbortSignal): Promise<void>;
  status(): FirewallStatus;
}

export interface FirewallManagerOptions {
  readonly target: RuleTarget;
  /** The target of the mode that is not in use: our rules are removed from it. */
  readonly unusedTarget?: RuleTarget;
  /** Networks and subnets of the previous run, by which its rules are recognized as ours. */
  readonly previousNetworks?: readonly Prefix[];
  /** `--iptables-resync`, for a target that does not announce changes. */
  readonly resyncMs: number;
  /** Size of the kernel's buffer for notifications that have not been read yet. */
  readonly receiveBufferBytes?: number;
  /** Looks for other firewalls that drop our packets, once our rules are installed. */
  readonly otherFirewalls?: OtherFirewalls;
  readonly clock: Clock;
  readonly log: Log;
  /** Called when `status()` has changed. */
  onStatus?(status: FirewallStatus): void;
  /** Called when rules that another program had modified are restored. */
  onRepaired?(family: Family): void;
}

/** Starts with no rules. Disposing it stops the watch and leaves the rules in the kernel. */
export async function startFirewallManager(
  options: FirewallManagerOptions,
): Promise<FirewallManager> {
  const manager = new Manager(options);
  await manager.start();
  return manager;
}

/** Notifications come in bursts: a program changes many rules at a time. */
const DEBOUNCE_MS = 50;
const MIN_RESYNC_MS = 1_000;
/** Without the rules, traffic may be dropped or leave with the wrong source. */
const MAX_REPAIR_DELAY_MS = 10_000;
const CHECKED = "firewall rules checked";

class Manager implements FirewallManager {
  readonly #options: FirewallManagerOptions;
  readonly #abort = new AbortController();
  readonly #state = new SyncState();
  readonly #watcher: RuleWatcher;
  readonly #repairer: RuleRepairer;
  readonly #pace: CheckPace;
  readonly #limiter: RepairLimiter<Family>;
  readonly #failures: Required<PerFamily<RepeatedFailure>>;
  /** Families to check. */
  readonly #dirty = new Set<Family>();
  #next: { readonly atMs: number; readonly timer: Disposable } | undefined;
  /** Marks families with an unreadable table as dirty. */
  #recheckTimer: Disposable | undefined;
  #work: Promise<void> | undefined;

  constructor(options: FirewallManagerOptions) {
    const { target, clock, log } = options;
    const resyncMs = Math.max(options.resyncMs, MIN_RESYNC_MS);
    this.#options = { ...options, resyncMs };
    this.#watcher = new RuleWatcher({
      target,
      clock,
      log,
      resyncMs,
      receiveBufferBytes: options.receiveBufferBytes,
      isUsed: (family) => this.#state.rulesOf(family) !== undefined,
      isPending: (family) => this.#dirty.has(family),
      onChange: (family) => this.#markDirty(family),
      onAnyChange: () => options.otherFirewalls?.rulesChanged(),
    });
    const { unusedTarget, previousNetworks } = options;
    const { signal } = this.#abort;
    this.#repairer = new RuleRepairer({ target, unusedTarget, previousNetworks, log, signal });
    this.#pace = new CheckPace(clock);
    this.#limiter = new RepairLimiter({ clock, maxDelayMs: MAX_REPAIR_DELAY_MS });
    const failure = (family: Family) => {
      const what = `setting up the IPv${family} firewall rules in ${target.name}`;
      return new RepeatedFailure({ log, clock, what, level: "error" });
    };
    this.#failures = { 4: failure(4), 6: failure(6) };
  }

  async start(): Promise<void> {
    await this.#watcher.start();
  }

  setRules(rules: FirewallRules): void {
    this.#state.setRules(rules);
    for (const family of FAMILIES) {
      const network = rules[family]?.network;
      if (network !== undefined) this.#repairer.addNetwork(network);
      // A family that is not in use is checked for rules of the previous run.
      this.#dirty.add(family);
      this.#limiter.forget(family);
    }
    this.#pace.reset();
    this.#schedule(0);
  }

  whenInstalled(signal?: AbortSignal): Promise<void> {
    return this.#state.whenSettled(signal);
  }

  status(): FirewallStatus {
    return this.#state.status();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#abort.abort(new Error("the firewall manager was stopped"));
    this.#next?.timer[Symbol.dispose]();
    this.#recheckTimer?.[Symbol.dispose]();
    this.#watcher[Symbol.dispose]();
    await this.#work;
    this.#options.target[Symbol.dispose]();
    this.#options.unusedTarget?.[Symbol.dispose]();
    await this.#options.otherFirewalls?.[Symbol.asyncDispose]();
  }

  #markDirty(family: Family): void {
    if (this.#state.rulesOf(family) === undefined) return;
    this.#dirty.add(family);
    this.#schedule(DEBOUNCE_MS);
  }

  /** Starts a check after `delayMs`, or later if the last check or repair was too recent. */
  #schedule(delayMs: number): void {
    if (this.#work !== undefined || this.#abort.signal.aborted) return;
    const { clock } = this.#options;
    const delays = [...this.#dirty].map((family) => this.#limiter.delayOf(family)?.delayMs ?? 0);
    const startInMs = Math.max(delayMs, this.#pace.delayMs(), Math.min(...delays));
    const atMs = clock.nowMs() + startInMs;
    if (this.#next !== undefined && this.#next.atMs <= atMs) return;
    this.#next?.timer[Symbol.dispose]();
    const timer = clock.setTimer(startInMs, () => {
      this.#next = undefined;
      this.#work = this.#check().finally(() => {
        this.#work = undefined;
        if (this.#dirty.size > 0) this.#schedule(DEBOUNCE_MS);
      });
    });
    this.#next = { atMs, timer };
  }

  async #check(): Promise<void> {
    const before = JSON.stringify(this.status());
    const startedAtMs = this.#options.clock.nowMs();
    // A family that changes during its own check becomes dirty again, for the next one.
    for (const family of [...this.#dirty]) {
      if (this.#limiter.delayOf(family) !== undefined) continue;
      try {
        await this.#sync(family);
        this.#state.clearProblem(family);
        this.#failures[family].succeeded();
      } catch (error) {
        if (this.#abort.signal.aborted) return;
        this.#failed(family, error as Error);
      }
    }
    this.#pace.checked({ startedAtMs, hasFailed: this.#state.needsRetry() });
    // Only when our rules are installed, so that there is no moment without rules.
    if (this.#state.isSettled) {
      await this.#repairer.cleanUnusedTarget((family) => !this.#state.hasProblem(family));
    }
    const status = this.status();
    if (JSON.stringify(status) !== before) this.#options.onStatus?.(status);
    if (!this.#state.isSettled) return;
    const { rules } = this.#state;
    if (rules !== undefined) this.#options.otherFirewalls?.follow(rules);
    this.#state.notifySettled();
  }

  async #sync(family: Family): Promise<void> {
    const rules = this.#state.rulesOf(family);
    if (rules === undefined) {
      this.#dirty.delete(family);
      return await this.#repairer.remove(family);
    }
    const { log, target, clock } = this.#options;
    const startedAtMs = clock.nowMs();
    const hasChanged = await this.#repairer.install(
      family,
      rules,
      () => this.#dirty.delete(family),
    );
    log.trace({ family, hasChanged, durationMs: clock.nowMs() - startedAtMs }, CHECKED);
    // Other rules may have been set in the meantime.
    if (this.#state.rulesOf(family) !== rules) return;
    const wasSynced = this.#state.isSynced(family);
    this.#state.markSynced(family);
    if (!hasChanged) return;
    if (wasSynced) this.#onRepaired(family);
    else log.info(`installed the IPv${family} firewall rules in ${target.name}`);
  }

  #onRepaired(family: Family): void {
    const { log, target } = this.#options;
    const delay = this.#limiter.repaired(family);
    this.#options.onRepaired?.(family);
    if (delay?.round === 1) {
      log.warn(
        `another program keeps modifying the IPv${family} firewall rules in ${target.name}; ` +
          `from now on, repairs are delayed, by up to ${MAX_REPAIR_DELAY_MS / 1000} s`,
      );
    } else if (delay === undefined) {
      log.warn(
        `the IPv${family} firewall rules in ${target.name} were modified by another program; ` +
          `restored`,
      );
    }
  }

  #failed(family: Family, error: Error): void {
    this.#state.markFailed(family, error);
    this.#failures[family].failed(error);
    if (!(error instanceof UnreadableTableError)) {
      this.#dirty.add(family);
      return;
    }
    // Changes of the chain that makes the table unreadable may not be announced: check again later.
    const { clock, resyncMs } = this.#options;
    this.#recheckTimer ??= clock.setTimer(resyncMs, () => {
      this.#recheckTimer = undefined;
      for (const family of this.#state.familiesWithProblem()) this.#markDirty(family);
    });
  }
}
