/**
 * From what should be and what is, key by key, to the steps that lead there: pure, and the only
 * place that decides what may be replaced and what may be deleted.
 */

import type { Link, Resource, ResourceKind } from "./resource.ts";
import { recreationReason, sameResource } from "./same_resource.ts";
import type { Step } from "./step.ts";

/** Entries are made in this order and deleted in the reverse one: each rests on those before it. */
export const STAGES: Readonly<Record<ResourceKind, number>> = {
  link: 0,
  fou: 1,
  sysctl: 1,
  "wireguard-device": 1,
  address: 2,
  neighbour: 3,
  fdb: 3,
  "wireguard-peer": 3,
  route: 4,
  "xfrm-policy": 4,
};

/** What to do about one key. */
export type Decision =
  /** The kernel holds what it should, or something that is none of our business. */
  | { readonly kind: "keep" }
  | { readonly kind: "act"; readonly steps: readonly Step[] }
  /** A device must go and come back; everything on it goes with it. */
  | { readonly kind: "recreate"; readonly steps: readonly Step[]; readonly reason: string }
  /** Somebody else holds the key. Nothing is done until they let go of it. */
  | { readonly kind: "conflict"; readonly desired: Resource; readonly holder: Resource };

export interface DecisionInput {
  readonly desired: Resource | undefined;
  readonly actual: Resource | undefined;
  /** Whether the actual entry belongs to this program; see `owns`. */
  readonly ours: boolean;
  /** Whether it may be replaced although it does not; see `mayAdopt`. */
  readonly adoptable: boolean;
  /** Whether entries that nobody desires may be deleted yet. */
  readonly maySweep: boolean;
}

const KEEP: Decision = { kind: "keep" };

/** The step from what the kernel holds under a key to what it should hold. */
export function decide(input: DecisionInput): Decision {
  const { desired, actual } = input;
  if (desired === undefined) {
    if (actual === undefined || !input.ours || !input.maySweep) return KEEP;
    return { kind: "act", steps: [{ op: "delete", resource: actual }] };
  }
  if (actual === undefined) {
    // Only these share their table with others: elsewhere, what appears on our device is ours.
    const exclusive = desired.kind === "route" || desired.kind === "xfrm-policy";
    return { kind: "act", steps: [{ op: "set", resource: desired, exclusive }] };
  }
  if (sameResource(desired, actual)) return KEEP;
  if (desired.kind === "link") return decideLink(desired, actual as Link, input.ours);
  if (desired.kind === "sysctl" || input.ours || input.adoptable) {
    return { kind: "act", steps: [{ op: "set", resource: desired }] };
  }
  return { kind: "conflict", desired, holder: actual };
}

/**
 * The order of one batch: what is made, from devices to routes, then what is deleted, from routes
 * to devices. New before old, so that a change of address never leaves a device without one: with
 * the last IPv4 address the kernel drops every route of the device. A device that is replaced is
 * deleted where it is made.
 */
export function orderSteps(steps: readonly Step[]): Step[] {
  const remade = new Set<string>();
  for (const { op, resource } of steps) {
    if (op === "set" && resource.kind === "link") remade.add(resource.name);
  }
  const rank = ({ op, resource }: Step) => {
    if (op !== "delete") return 1 + STAGES[resource.kind];
    return resource.kind === "link" && remade.has(resource.name) ? 0 : 20 - STAGES[resource.kind];
  };
  const ranks: Step[][] = [];
  for (const step of steps) (ranks[rank(step)] ??= []).push(step);
  return ranks.flat();
}

function decideLink(desired: Link, actual: Link, ours: boolean): Decision {
  // A device with our name and of our type is ours whoever made it; any other is somebody's own.
  if (!ours) return { kind: "conflict", desired, holder: actual };
  const reason = recreationReason(desired, actual);
  if (reason === undefined) {
    return { kind: "act", steps: [{ op: "change", resource: desired, from: actual }] };
  }
  const steps: Step[] = [{ op: "delete", resource: actual }, { op: "set", resource: desired }];
  return { kind: "recreate", steps, reason };
}
