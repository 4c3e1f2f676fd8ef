/** Which families are in sync with the desired rules, and the promises that wait for that. */

import { familiesOf } from "../addr/family.ts";
import type { Family } from "../addr/ip.ts";
import { unlessAborted } from "../base/abort.ts";
import type { FamilyRules, FirewallRules } from "./rules/firewall_rules.ts";
import { UnreadableTableError } from "./rules/rule_target.ts";

export interface FirewallStatus {
  /** The last check found or installed the desired rules. */
  readonly isInSync: boolean;
  /** The reason, for an operator. */
  readonly problem?: string;
}

export class SyncState {
  #rules: FirewallRules | undefined;
  readonly #synced = new Set<Family>();
  readonly #problems = new Map<Family, Error>();
  #settled = Promise.withResolvers<void>();

  get rules(): FirewallRules | undefined {
    return this.#rules;
  }

  rulesOf(family: Family): FamilyRules | undefined {
    return this.#rules?.[family];
  }

  /** From now on these rules are desired; nothing is known about them yet. */
  setRules(rules: FirewallRules): void {
    this.#rules = rules;
    this.#synced.clear();
    this.#problems.clear();
  }

  isSynced(family: Family): boolean {
    return this.#synced.has(family);
  }

  markSynced(family: Family): void {
    this.#synced.add(family);
  }

  clearProblem(family: Family): void {
    this.#problems.delete(family);
  }

  markFailed(family: Family, error: Error): void {
    this.#synced.delete(family);
    this.#problems.set(family, error);
  }

  hasProblem(family: Family): boolean {
    return this.#problems.has(family);
  }

  familiesWithProblem(): Family[] {
    return [...this.#problems.keys()];
  }

  /** Whether a retry may solve a problem. */
  needsRetry(): boolean {
    return this.#problems.values().some((error) => !(error instanceof UnreadableTableError));
  }

  status(): FirewallStatus {
    const problems = [...new Set([...this.#problems.values()].map(({ message }) => message))];
    const isInSync = this.#rules !== undefined && problems.length === 0 &&
      this.#families().every((family) => this.#synced.has(family));
    return { isInSync, ...(problems.length === 0 ? {} : { problem: problems.join("; ") }) };
  }

  /** Nothing is left to do for the daemon: the rest needs an operator. */
  get isSettled(): boolean {
    return this.#rules !== undefined &&
      this.#families().every((family) =>
        this.#synced.has(family) || this.#problems.get(family) instanceof UnreadableTableError
      );
  }

  /** Resolves when `isSettled`. Rejects with the signal's reason. */
  async whenSettled(signal?: AbortSignal): Promise<void> {
    if (this.isSettled) return;
    const { promise } = this.#settled;
    await (signal === undefined ? promise : unlessAborted(promise, signal));
  }

  /** Resolves the promises of `whenSettled`. */
  notifySettled(): void {
    this.#settled.resolve();
    this.#settled = Promise.withResolvers();
  }

  #families(): Family[] {
    return familiesOf(this.#rules ?? {});
  }
}
