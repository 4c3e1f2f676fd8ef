/**
 * From what should be and what is to the steps that lead there: pure, and the only place that
 * decides what may be replaced and what may be deleted.
 */

import { linkKey, linkOf } from "./resource_key.ts";
import { mayAdopt, type Ownership, owns } from "./ownership.ts";
import type { Link, NetworkState, Resource, ResourceKey, ResourceKind } from "./resource.ts";
import { recreationReason, sameResource } from "./same_resource.ts";
import type { Step } from "./step.ts";

/** Entries are made in this order and deleted in the reverse one: each rests on those before it. */
export const STAGES: Readonly<Record<ResourceKind, number>> = {
  link: 0,
  sysctl: 1,
  address: 2,
  neighbour: 3,
  fdb: 3,
  route: 4,
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

export function decide(input: DecisionInput): Decision {
  const { desired, actual } = input;
  if (desired === undefined) {
    if (actual === undefined || !input.ours || !input.maySweep) return KEEP;
    return { kind: "act", steps: [{ op: "delete", resource: actual }] };
  }
  if (actual === undefined) {
    // Only routes share their table with others: elsewhere, what appears on our device is ours.
    const exclusive = desired.kind === "route";
    return { kind: "act", steps: [{ op: "set", resource: desired, exclusive }] };
  }
  if (sameResource(desired, actual)) return KEEP;
  if (desired.kind === "link") return decideLink(desired, actual as Link);
  if (desired.kind === "sysctl" || input.ours || input.adoptable) {
    return { kind: "act", steps: [{ op: "set", resource: desired }] };
  }
  return { kind: "conflict", desired, holder: actual };
}

export interface Plan {
  readonly steps: readonly Step[];
  readonly conflicts: readonly { readonly desired: Resource; readonly holder: Resource }[];
  /** Devices that are deleted and made anew, with the reason. */
  readonly recreated: ReadonlyMap<string, string>;
  /** Desired entries on a device whose name somebody else holds. */
  readonly blocked: readonly Resource[];
}

export interface PlanOptions {
  readonly ownership: Ownership;
  readonly maySweep: boolean;
}

/** All steps from `actual` to `desired`, in an order in which each finds what it needs. */
export function plan(desired: NetworkState, actual: NetworkState, options: PlanOptions): Plan {
  const { ownership, maySweep } = options;
  const linkNamed = (name: string) => actual.get(linkKey(name)) as Link | undefined;
  const steps: Step[] = [];
  const conflicts: { desired: Resource; holder: Resource }[] = [];
  const recreated = new Map<string, string>();
  const blocked: Resource[] = [];
  const consider = (key: ResourceKey, wanted: Resource | undefined) => {
    const resource = actual.get(key);
    const link = wanted && linkOf(wanted);
    if (link !== undefined && ownership.links.has(link) && linkNamed(link)?.type === "other") {
      blocked.push(wanted as Resource);
      return;
    }
    const decision = decide({
      desired: wanted,
      actual: resource,
      ours: resource !== undefined && owns(resource, ownership, linkNamed),
      adoptable: resource !== undefined && mayAdopt(resource, ownership),
      maySweep,
    });
    if (decision.kind === "conflict") conflicts.push(decision);
    if (decision.kind === "act" || decision.kind === "recreate") steps.push(...decision.steps);
    if (decision.kind === "recreate") recreated.set((wanted as Link).name, decision.reason);
  };
  for (const [key, wanted] of desired) consider(key, wanted);
  for (const key of actual.keys()) if (!desired.has(key)) consider(key, undefined);
  restore(steps, desired, actual, recreated);
  return { steps: orderSteps(steps), conflicts, recreated, blocked };
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

function decideLink(desired: Link, actual: Link): Decision {
  // A vxlan device with our name is ours whoever made it; any other device is somebody's own.
  if (desired.type !== "vxlan" || actual.type !== "vxlan") {
    return { kind: "conflict", desired, holder: actual };
  }
  const reason = recreationReason(desired, actual);
  if (reason === undefined) {
    return { kind: "act", steps: [{ op: "change", resource: desired, from: actual }] };
  }
  const steps: Step[] = [{ op: "delete", resource: actual }, { op: "set", resource: desired }];
  return { kind: "recreate", steps, reason };
}

/** Adds the entries that vanish by themselves: all of a device made anew, and the neighbours of one whose MAC changes. */
function restore(
  steps: Step[],
  desired: NetworkState,
  actual: NetworkState,
  recreated: ReadonlyMap<string, string>,
): void {
  const newMac = new Set<string>();
  for (const step of steps) {
    if (step.op === "change" && step.resource.mac !== step.from.mac) newMac.add(step.resource.name);
  }
  if (recreated.size === 0 && newMac.size === 0) return;
  for (const [key, wanted] of desired) {
    const found = actual.get(key);
    const link = found && linkOf(found);
    if (link === undefined || found === undefined || !sameResource(wanted, found)) continue;
    if (recreated.has(link) || newMac.has(link) && wanted.kind === "neighbour") {
      steps.push({ op: "set", resource: wanted });
    }
  }
}
