/** Installs and removes rules in a target, as far as the target supports them. */

import { FAMILIES, type Family } from "../addr/ip.ts";
import type { Prefix } from "../addr/prefix.ts";
import { errorMessage } from "../base/operator_error.ts";
import type { Log } from "../log/log.ts";
import { type FamilyRules, withoutFullyRandom } from "./rules/firewall_rules.ts";
import { FirewallError, type RuleTarget, UnreadableTableError } from "./rules/rule_target.ts";

export interface RuleRepairerOptions {
  readonly target: RuleTarget;
  /** The target of the mode that is not in use: our rules are removed from it. */
  readonly unusedTarget?: RuleTarget | undefined;
  /** Networks and subnets of the previous run, by which its rules are recognized as ours. */
  readonly previousNetworks?: readonly Prefix[] | undefined;
  readonly log: Log;
  readonly signal: AbortSignal;
}

const MAX_CLEANUP_ATTEMPTS = 3;

export class RuleRepairer {
  readonly #options: RuleRepairerOptions;
  readonly #networks: Set<Prefix>;
  #supportsFullyRandom = true;
  readonly #cleaned = new Set<Family>();
  #cleanupAttempts = 0;

  constructor(options: RuleRepairerOptions) {
    this.#options = options;
    this.#networks = new Set(options.previousNetworks);
  }

  /** From now on, rules with this network are recognized as ours. */
  addNetwork(network: Prefix): void {
    this.#networks.add(network);
  }

  /**
   * Makes the target hold the rules, with predictable source ports if it does not support random
   * ones. Returns whether it had to be changed. Throws `FirewallError`.
   */
  async install(family: Family, rules: FamilyRules, onRead: () => void): Promise<boolean> {
    const { target, log } = this.#options;
    const ensure = (supported: FamilyRules) =>
      this.#ensure(target, { family, rules: supported, onRead });
    if (!this.#supportsFullyRandom) return await ensure(withoutFullyRandom(rules));
    try {
      return await ensure(rules);
    } catch (error) {
      const usesIt = rules.masquerade.some(({ verdict }) => verdict === "masquerade fully-random");
      if (!usesIt || !isUnsupported(error)) throw error;
      const hasChanged = await ensure(withoutFullyRandom(rules));
      this.#supportsFullyRandom = false;
      log.warn(
        `cannot masquerade with random source ports in ${target.name}: ${errorMessage(error)}; ` +
          `using predictable source ports`,
      );
      return hasChanged;
    }
  }

  /** Removes our rules of a family from the target. Best effort: a system may have no IPv6. */
  async remove(family: Family): Promise<void> {
    const { target, log } = this.#options;
    try {
      await this.#ensure(target, { family, rules: undefined });
    } catch (error) {
      log.debug(
        `cannot check ${target.name} for IPv${family} rules of the previous run: ` +
          errorMessage(error),
      );
    }
  }

  /** Removes our rules from the unused target, once for each family for which `isReady`. */
  async cleanUnusedTarget(isReady: (family: Family) => boolean): Promise<void> {
    const { unusedTarget, log, signal } = this.#options;
    if (unusedTarget === undefined || this.#cleanupAttempts >= MAX_CLEANUP_ATTEMPTS) return;
    let failure: unknown;
    for (const family of FAMILIES) {
      if (!isReady(family) || this.#cleaned.has(family)) continue;
      try {
        if (await this.#ensure(unusedTarget, { family, rules: undefined })) {
          log.info(`removed the IPv${family} rules of the previous run from ${unusedTarget.name}`);
        }
        this.#cleaned.add(family);
      } catch (error) {
        failure = error;
      }
    }
    if (failure === undefined || signal.aborted) return;
    this.#cleanupAttempts++;
    log.warn(
      `cannot remove the rules of the previous run from ${unusedTarget.name}: ` +
        errorMessage(failure),
    );
  }

  #ensure(
    target: RuleTarget,
    request: { family: Family; rules: FamilyRules | undefined; onRead?: () => void },
  ): Promise<boolean> {
    const { signal } = this.#options;
    return target.ensure({ ...request, networks: [...this.#networks], signal });
  }
}

function isUnsupported(error: unknown): boolean {
  return error instanceof FirewallError && !(error instanceof UnreadableTableError) &&
    error.kind === "unsupported";
}
