/** Which kernel entries belong to this program, current or stale; all others are never touched. */

import type { OwnershipCriteria } from "./kinds/entry_kind.ts";
import { kindOf, type Link, type LinkType, type Resource, type ResourceKind } from "./resource.ts";

export interface Ownership extends OwnershipCriteria {
  /** The types that our devices may have; a device of another type belongs to another program. */
  readonly linkTypes: ReadonlySet<LinkType>;
  /** Kinds of entries that only some backends have. They are read only if they are named here. */
  readonly extraKinds?: readonly ResourceKind[];
}

/** By the fields of the entry alone; `owns` also looks at the device that it is on. */
export function isOurs(resource: Resource, criteria: OwnershipCriteria): boolean {
  return kindOf(resource).isOurs(resource, criteria);
}

/**
 * `isOurs`, given the device that actually has the name: on a foreign device that merely has the
 * name of ours, nothing is ours.
 */
export function owns(
  resource: Resource,
  ownership: Ownership,
  linkNamed: (name: string) => Link | undefined,
): boolean {
  const kind = kindOf(resource);
  if (!kind.isOurs(resource, ownership)) return false;
  if (resource.kind === "link") return ownership.linkTypes.has(resource.type);
  const name = kind.linkOf(resource);
  if (name === undefined || !ownership.links.has(name)) return true;
  const link = linkNamed(name);
  return link === undefined || ownership.linkTypes.has(link.type);
}

/** Whether a foreign entry may be replaced, though never deleted, because Go flannel created it. */
export function mayAdopt(resource: Resource, criteria: OwnershipCriteria): boolean {
  return kindOf(resource).mayAdopt(resource, criteria);
}
