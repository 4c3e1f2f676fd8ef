/** The port to a system that holds the rules: iptables or nftables. */

import { OperatorError } from "../../base/operator_error.ts";
import type { Family } from "../../addr/ip.ts";
import type { Prefix } from "../../addr/prefix.ts";
import type { FamilyRules } from "./firewall_rules.ts";

export interface RuleTarget extends Disposable {
  /** For messages: `iptables (legacy)`, `nftables (libnftables)`. */
  readonly name: string;
  /**
   * Makes the system hold these rules, atomically for each table, and returns whether it had to be
   * changed; a system that holds them already is only read. Throws `FirewallError`, and
   * `UnreadableTableError` if a retry cannot help.
   */
  ensure(request: EnsureRequest): Promise<boolean>;
  /** Whether a change of rules is announced by nftables notifications. */
  readonly isWatched: boolean;
  /** Whether the change may concern our rules. Called for every rule that anybody changes. */
  concerns(change: NftChange): boolean;
}

export interface EnsureRequest {
  readonly family: Family;
  /** `undefined` removes what is ours. */
  readonly rules: FamilyRules | undefined;
  /** The prefixes, present and former, by which this daemon knows its rules. */
  readonly networks: readonly Prefix[];
  readonly signal?: AbortSignal;
  /** Called before each look at the system: what is announced later was not seen. */
  onRead?(): void;
}

/** One nftables object was made or removed. */
export interface NftChange {
  /** `undefined` for the tables of other families than IPv4 and IPv6. */
  readonly family: Family | undefined;
  readonly table: string;
  /** Absent when a whole table is concerned. */
  readonly chain?: string;
  /** A rule; else the chain or the table itself. */
  readonly isRule: boolean;
  readonly isDeleted: boolean;
}

/** Rules cannot be read or written: what, why, what to do. */
export class FirewallError extends OperatorError {
  override readonly name = "FirewallError";
}

/**
 * The system's own program cannot show a table, because of a rule of another program. A retry does not
 * help: an operator has to fix it.
 */
export class UnreadableTableError extends FirewallError {}
