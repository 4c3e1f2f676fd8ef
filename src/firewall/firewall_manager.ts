/**
 * Keeps the rules in the kernel as they should be: puts them in, notices when somebody changes them,
 * and puts them right, at a bounded cost.
 *
 * Changes are noticed from nftables notifications, which cover iptables where it works on nftables.
 * Legacy iptables announces nothing and is looked at periodically, one program for each period.
 */

import type { PerFamily } from "../addr/family.ts";
import { FAMILIES, type Family } from "../addr/ip.ts";
import type { Prefix } from "../addr/prefix.ts";
import type { Clock } from "../base/clock.ts";
import type { Log } from "../log/log.ts";
import { RepeatedFailure } from "../log/repeated_failure.ts";
import { type NftWatchListener, watchNftables } from "./nftables/nft_watch.ts";
import type { OtherFirewalls } from "./other_firewalls.ts";
import { RepairPace } from "./repair_pace.ts";
import {
  type FamilyRules,
  type FirewallRules,
  withoutFullyRandom,
} from "./rules/firewall_rules.ts";
import { type RuleTarget, UnreadableTableError } from "./rules/rule_target.ts";

export interface FirewallManager extends AsyncDisposable {
  /** What the system is to hold from now on. Returns at once; the work follows. */
  setRules(rules: FirewallRules): void;
  /**
   * Resolves when the rules last set are in the kernel, or when only an operator can fix the rest, which
   * `status()` describes. Rejects with the signal's reason.
   */
  whenInstalled(signal?: AbortSignal): Promise<void>;
  status(): FirewallStatus;
}

export interface FirewallStatus {
  /** The rules last set were in the kernel when last looked at. */
  readonly inSync: boolean;
  /** Why not, for people. */
  readonly problem?: string;
}

export interface FirewallManagerOptions {
  readonly target: RuleTarget;
  /** The system of the mode that is not in use: what is ours there is removed. */
  readonly unused?: RuleTarget;
  /** Networks and subnets of a former run, by which its rules are known as ours. */
  readonly formerNetworks?: readonly Prefix[];
  /** `--iptables-resync`, for a system that announces no changes. */
  readonly resyncMs: number;
  /** Kernel-side room for notifications that are not read yet. */
  readonly receiveBufferBytes?: number;
  /** Checks other firewalls for chains that drop our packets, once our rules are in place. */
  readonly others?: OtherFirewalls;
  readonly clock: Clock;
  readonly log: Log;
  /** Called when `status()` has changed. */
  onStatus?(status: FirewallStatus): void;
}

/** Starts with nothing to do; disposing stops the watch and leaves the rules in the kernel. */
export async function manageFirewall(options: FirewallManagerOptions): Promise<FirewallManager> {
  const manager = new Manager(options);
  await manager.watch();
  return manager;
}

/** Notifications come in bunches: a program changes many rules at a time. */
const DEBOUNCE_MS = 50;
const MIN_RESYNC_MS = 1_000;
const CLEANUP_TRIES = 3;

class Manager implements FirewallManager {
  readonly #options: FirewallManagerOptions;
  readonly #networks: Set<Prefix>;
  readonly #abort = new AbortController();
  readonly #dirty = new Set<Family>();
  readonly #verified = new Set<Family>();
  readonly #waiting = new Set<() => void>();
  #rules: FirewallRules | undefined;
  #watch: Disposable | undefined;
  #poll: ReturnType<typeof setInterval> | undefined;
  #polledFamily: Family = 6;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #work: Promise<void> | undefined;
  readonly #pace = new RepairPace();
  readonly #failures: Required<PerFamily<RepeatedFailure>>;
  readonly #problems = new Map<Family, Error>();
  readonly #cleaned = new Set<Family>();
  #cleanupTries = 0;
  #recheck: ReturnType<typeof setTimeout> | undefined;
  #hasFullyRandom = true;

  constructor(options: FirewallManagerOptions) {
    this.#options = options;
    this.#networks = new Set(options.formerNetworks);
    const failure = (family: Family) =>
      new RepeatedFailure({
        log: options.log,
        clock: options.clock,
        what: `setting up IPv${family} rules in ${options.target.name}`,
        level: "error",
      });
    this.#failures = { 4: failure(4), 6: failure(6) };
  }

  async watch(): Promise<void> {
    if (this.#options.target.isWatched) {
      try {
        this.#watch = await watchNftables(this.#listener(), this.#options.receiveBufferBytes);
        return;
      } catch (error) {
        this.#startPolling(error as Error);
      }
    } else this.#startPolling();
  }

  setRules(rules: FirewallRules): void {
    this.#rules = rules;
    this.#verified.clear();
    this.#problems.clear();
    for (const family of FAMILIES) {
      const network = rules[family]?.network;
      if (network !== undefined) this.#networks.add(network);
      // A family that is not in use is looked at for what a former run left.
      this.#dirty.add(family);
    }
    clearTimeout(this.#timer);
    this.#timer = undefined;
    this.#pace.reset();
    this.#schedule(0);
  }

  whenInstalled(signal?: AbortSignal): Promise<void> {
    if (this.#isDone()) return Promise.resolve();
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    if (signal?.aborted) return Promise.reject(signal.reason);
    const abort = () => (this.#waiting.delete(done), reject(signal?.reason));
    const done = () => (signal?.removeEventListener("abort", abort), resolve());
    signal?.addEventListener("abort", abort, { once: true });
    this.#waiting.add(done);
    return promise;
  }

  status(): FirewallStatus {
    const problems = [...new Set([...this.#problems.values()].map(({ message }) => message))];
    const inSync = this.#rules !== undefined && problems.length === 0 &&
      this.#used().every((family) => this.#verified.has(family));
    return { inSync, ...(problems.length === 0 ? {} : { problem: problems.join("; ") }) };
  }

  #used(): Family[] {
    return FAMILIES.filter((family) => this.#rules?.[family] !== undefined);
  }

  /** The daemon can do no more: the rest is up to an operator. */
  #isDone(): boolean {
    return this.#rules !== undefined &&
      this.#used().every((family) =>
        this.#verified.has(family) || this.#problems.get(family) instanceof UnreadableTableError
      );
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#abort.abort(new Error("the traffic manager was stopped"));
    clearTimeout(this.#timer);
    clearTimeout(this.#recheck);
    clearInterval(this.#poll);
    this.#watch?.[Symbol.dispose]();
    await this.#work;
    this.#options.target[Symbol.dispose]();
    this.#options.unused?.[Symbol.dispose]();
    await this.#options.others?.[Symbol.asyncDispose]();
  }

  #listener(): NftWatchListener {
    const { target } = this.#options;
    return {
      changed: (change) => {
        this.#options.others?.changed();
        const { family } = change;
        if (family === undefined || this.#dirty.has(family) || !target.concerns(change)) return;
        this.#markDirty(family);
      },
      overrun: () => {
        this.#options.log.debug("notifications of changed rules were lost; looking at the rules");
        for (const family of FAMILIES) this.#markDirty(family);
      },
      failed: (error) => {
        for (const family of FAMILIES) this.#markDirty(family);
        this.#startPolling(error);
      },
    };
  }

  #markDirty(family: Family): void {
    if (this.#rules?.[family] === undefined) return;
    this.#dirty.add(family);
    this.#schedule(DEBOUNCE_MS);
  }

  #resyncMs(): number {
    return Math.max(this.#options.resyncMs, MIN_RESYNC_MS);
  }

  #startPolling(reason?: Error): void {
    const resyncMs = this.#resyncMs();
    if (reason !== undefined) {
      this.#options.log.warn(
        `${reason.message}; looking at the rules every ${resyncMs / 1000} s instead`,
      );
    }
    this.#poll ??= setInterval(() => {
      this.#options.others?.changed();
      // One family at a time, so that there is one program for each period.
      const other = this.#polledFamily === 4 ? 6 : 4;
      if (this.#rules?.[other] !== undefined) this.#polledFamily = other;
      this.#markDirty(this.#polledFamily);
    }, resyncMs);
  }

  /** Starts the work in `delayMs`, or later if the last look is too recent. */
  #schedule(delayMs: number): void {
    if (this.#timer !== undefined || this.#work !== undefined || this.#abort.signal.aborted) return;
    const waitMs = Math.max(delayMs, this.#pace.waitMs(performance.now()));
    this.#timer = setTimeout(() => {
      this.#timer = undefined;
      this.#work = this.#run().finally(() => {
        this.#work = undefined;
        if (this.#dirty.size > 0) this.#schedule(DEBOUNCE_MS);
      });
    }, waitMs);
  }

  async #run(): Promise<void> {
    const before = JSON.stringify(this.status());
    const startedAtMs = performance.now();
    // A family becomes dirty again during its own look when it is changed meanwhile: next time.
    for (const family of [...this.#dirty]) {
      try {
        await this.#ensure(family);
        this.#problems.delete(family);
        this.#failures[family].succeeded();
      } catch (error) {
        if (this.#abort.signal.aborted) return;
        this.#failed(family, error as Error);
      }
    }
    const failed = this.#problems.values().some((error) =>
      !(error instanceof UnreadableTableError)
    );
    this.#pace.looked({ startedAtMs, endedAtMs: performance.now(), failed });
    await this.#cleanUnused();
    const status = this.status();
    if (JSON.stringify(status) !== before) this.#options.onStatus?.(status);
    if (!this.#isDone()) return;
    if (this.#rules !== undefined) this.#options.others?.follow(this.#rules);
    for (const done of this.#waiting) done();
    this.#waiting.clear();
  }

  #failed(family: Family, error: Error): void {
    this.#verified.delete(family);
    this.#problems.set(family, error);
    this.#failures[family].failed(error);
    if (!(error instanceof UnreadableTableError)) {
      this.#dirty.add(family);
      return;
    }
    // Changes to the chain that makes the table unreadable may not be announced to us: check again later.
    this.#recheck ??= setTimeout(() => {
      this.#recheck = undefined;
      for (const family of this.#problems.keys()) this.#markDirty(family);
    }, this.#resyncMs());
  }

  async #ensure(family: Family): Promise<void> {
    const wanted = this.#rules?.[family];
    if (wanted === undefined) return await this.#removeDisabled(family);
    const changed = await this.#ensureRules(family, wanted);
    // Other rules may have been set meanwhile.
    if (this.#rules?.[family] !== wanted) return;
    const wasVerified = this.#verified.has(family);
    this.#verified.add(family);
    if (!changed) return;
    const { log, target } = this.#options;
    if (!wasVerified) return log.info(`IPv${family} rules are in ${target.name}`);
    if (this.#pace.corrected(performance.now()) === "fight begins") {
      log.warn(
        "another program keeps changing the rules; from now on they are put right less often",
      );
    } else if (!this.#pace.isFighting) {
      log.warn(`IPv${family} rules in ${target.name} had been changed and are put right`);
    }
  }

  /** Falls back to predictable source ports where the system cannot do others. */
  async #ensureRules(family: Family, wanted: FamilyRules): Promise<boolean> {
    const ensure = (rules: FamilyRules) => this.#ensureOn(this.#options.target, family, rules);
    if (!this.#hasFullyRandom) return await ensure(withoutFullyRandom(wanted));
    try {
      return await ensure(wanted);
    } catch (error) {
      if (error instanceof UnreadableTableError) throw error;
      const usesIt = wanted.masquerade.some(({ verdict }) => verdict === "masquerade fully-random");
      if (!usesIt || !/random|unsupported|not supported/i.test((error as Error).message)) {
        throw error;
      }
      const changed = await ensure(withoutFullyRandom(wanted));
      this.#hasFullyRandom = false;
      this.#options.log.warn(
        `masquerading without random source ports, which this system lacks: ${
          (error as Error).message
        }`,
      );
      return changed;
    }
  }

  #ensureOn(
    target: RuleTarget,
    family: Family,
    rules: FamilyRules | undefined,
  ): Promise<boolean> {
    return target.ensure({
      family,
      rules,
      networks: [...this.#networks],
      signal: this.#abort.signal,
      onRead: () => {
        if (target === this.#options.target) this.#dirty.delete(family);
      },
    });
  }

  /** Best effort: a system without IPv6 has no IPv6 rules to remove. */
  async #removeDisabled(family: Family): Promise<void> {
    this.#dirty.delete(family);
    try {
      await this.#ensureOn(this.#options.target, family, undefined);
    } catch (error) {
      this.#options.log.debug(
        `cannot look for old IPv${family} rules: ${(error as Error).message}`,
      );
    }
    this.#dirty.delete(family);
  }

  /** Only once ours are in, so that there is no moment without rules. */
  async #cleanUnused(): Promise<void> {
    const { unused, log } = this.#options;
    if (unused === undefined || this.#cleanupTries >= CLEANUP_TRIES || !this.#isDone()) return;
    let failure: Error | undefined;
    for (const family of FAMILIES) {
      if (this.#problems.has(family) || this.#cleaned.has(family)) continue;
      try {
        if (await this.#ensureOn(unused, family, undefined)) {
          log.info(`removed the IPv${family} rules of a former run from ${unused.name}`);
        }
        this.#cleaned.add(family);
      } catch (error) {
        failure = error as Error;
      }
    }
    if (failure === undefined || this.#abort.signal.aborted) return;
    this.#cleanupTries++;
    log.warn(`cannot remove rules of a former run from ${unused.name}: ${failure.message}`);
  }
}
