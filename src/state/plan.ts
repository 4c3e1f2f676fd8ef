/**
 * The steps from the actual to the desired state, key by key: pure, and the only place that decides
 * what may be replaced and what may be deleted.
 */

import { recreationReason } from "./kinds/link.ts";
import { kindOf, type Link, type Resource } from "./resource.ts";
import { sameResource } from "./same_resource.ts";
import type { Step } from "./step.ts";

/** What to do about one key. */
export type Decision =
  /** The kernel holds the desired entry, or one that is not ours to change. */
  | { readonly kind: "keep" }
  | { readonly kind: "act"; readonly steps: readonly Step[] }
  /** A device must be deleted and created again; everything on it goes with it. */
  | { readonly kind: "recreate"; readonly steps: readonly Step[]; readonly reason: string }
  /** Another program holds the key. Nothing is done until it releases the key. */
  | { readonly kind: "conflict"; readonly desired: Resource; readonly holder: Resource };

export interface DecisionInput {
  readonly desired: Resource | undefined;
  readonly actual: Resource | undefined;
  /** Whether the actual entry belongs to this program; see `owns`. */
  readonly isOurs: boolean;
  /** Whether the actual entry is foreign but may be replaced; see `mayAdopt`. */
  readonly isAdoptable: boolean;
  /** Whether entries of ours without a desired one may be deleted yet. */
  readonly maySweep: boolean;
}

const KEEP: Decision = { kind: "keep" };

/** The step from the entry that the kernel holds under a key to the desired one. */
export function decide(input: DecisionInput): Decision {
  const { desired, actual } = input;
  if (desired === undefined) {
    if (actual === undefined || !input.isOurs || !input.maySweep) return KEEP;
    return { kind: "act", steps: [{ op: "delete", resource: actual }] };
  }
  const { isExclusive: exclusive, foreign } = kindOf(desired);
  if (actual === undefined) {
    return { kind: "act", steps: [{ op: "set", resource: desired, exclusive }] };
  }
  if (sameResource(desired, actual)) return KEEP;
  if (!input.isOurs && !input.isAdoptable && foreign === "conflicts") {
    return { kind: "conflict", desired, holder: actual };
  }
  // A device of our name and type is ours, whichever program created it.
  if (desired.kind === "link") return decideLink(desired, actual as Link);
  return { kind: "act", steps: [{ op: "set", resource: desired }] };
}

/**
 * The order of one batch: first what is created, from devices to routes, then what is deleted, from
 * routes to devices. New before old, so that a change of address never leaves a device without one:
 * with the last IPv4 address the kernel drops every route of the device. A device that is recreated
 * is deleted just before its creation.
 */
export function orderSteps(steps: readonly Step[]): Step[] {
  const recreated = new Set<string>();
  for (const { op, resource } of steps) {
    if (op === "set" && resource.kind === "link") recreated.add(resource.name);
  }
  const rank = ({ op, resource }: Step) => {
    const { stage } = kindOf(resource);
    if (op !== "delete") return 1 + stage;
    return resource.kind === "link" && recreated.has(resource.name) ? 0 : 20 - stage;
  };
  const ranks: Step[][] = [];
  for (const step of steps) (ranks[rank(step)] ??= []).push(step);
  return ranks.flat();
}

function decideLink(desired: Link, actual: Link): Decision {
  const reason = recreationReason(desired, actual);
  if (reason === undefined) {
    return { kind: "act", steps: [{ op: "change", resource: desired, from: actual }] };
  }
  const steps: Step[] = [{ op: "delete", resource: actual }, { op: "set", resource: desired }];
  return { kind: "recreate", steps, reason };
}
