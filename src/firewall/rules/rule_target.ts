/** The port to a system that holds the rules, iptables or nftables, and its errors. */

import { OperatorError } from "../../base/operator_error.ts";
import type { Family } from "../../addr/ip.ts";
import type { Prefix } from "../../addr/prefix.ts";
import type { FamilyRules } from "./firewall_rules.ts";

export interface RuleTarget extends Disposable {
  /** For messages: `iptables (legacy)`, `nftables (libnftables)`. */
  readonly name: string;
  readonly kind: RuleTargetKind;
  /** Whether the kernel announces changes of its rules by nftables notifications. */
  readonly announcesChanges: boolean;
  /**
   * Makes the system hold these rules, atomically for each table. Returns whether it had to be
   * changed; a system that already holds them is only read. Throws `FirewallError`, and
   * `UnreadableTableError` if a retry cannot help.
   */
  ensure(request: EnsureRequest): Promise<boolean>;
  /** Whether the change may concern our rules. Called for each rule that any program changes. */
  concerns(change: NftChange): boolean;
}

/** `iptables-nft`: the iptables programs that store their rules in nftables. */
export type RuleTargetKind = "iptables-legacy" | "iptables-nft" | "nftables";

export interface EnsureRequest {
  readonly family: Family;
  /** `undefined` removes our rules. */
  readonly rules: FamilyRules | undefined;
  /** Current and previous networks, by which this daemon recognizes its rules. */
  readonly networks: readonly Prefix[];
  readonly signal?: AbortSignal;
  /**
   * Called before each read of the system: a change that is announced later may not have been seen.
   */
  onRead?(): void;
}

/** One nftables object was created or deleted. */
export interface NftChange {
  /** `undefined` for tables of families other than IPv4 and IPv6. */
  readonly family: Family | undefined;
  readonly table: string;
  /** Absent if the object is a table. */
  readonly chain?: string;
  /** A rule; otherwise the chain or the table itself. */
  readonly isRule: boolean;
  readonly isDeleted: boolean;
}

/** Rules cannot be read or written: what, why, what to do. */
export class FirewallError extends OperatorError {
  override readonly name: string = "FirewallError";
  /** `unsupported`: the kernel or a program lacks a feature that the rules use. */
  readonly kind: FirewallErrorKind;

  constructor(
    message: string,
    { kind = "other", ...options }: ErrorOptions & { readonly kind?: FirewallErrorKind } = {},
  ) {
    super(message, options);
    this.kind = kind;
  }
}

export type FirewallErrorKind = "unsupported" | "other";

/**
 * The system's own program cannot show a table because of another program's rule. A retry does not
 * help: an operator has to fix it.
 */
export class UnreadableTableError extends FirewallError {
  override readonly name = "UnreadableTableError";
}

/**
 * The kind of an error that a program explains with this text, the only thing that iptables and nft
 * say about a feature that they or the kernel lack.
 */
export function firewallErrorKind(reason: string): FirewallErrorKind {
  return /random|unsupported|not supported/i.test(reason) ? "unsupported" : "other";
}
