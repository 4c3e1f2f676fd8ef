/** The identity of an entry in the kernel's tables: two entries with one key cannot both exist. */

import type { EntryKind } from "./kinds/entry_kind.ts";
import {
  kindOf,
  type Resource,
  RESOURCE_KINDS,
  type ResourceKey,
  type ResourceKind,
} from "./resource.ts";

/** Canonical text of the fields that identify an entry in its table. Its first word is the kind. */
export function resourceKey(resource: Resource): ResourceKey {
  return kindOf(resource).key(resource);
}

/** The definition of the kind that a key belongs to. */
export function kindOfKey(key: ResourceKey): EntryKind<Resource> {
  return RESOURCE_KINDS[key.slice(0, key.indexOf(" ")) as ResourceKind] as EntryKind<Resource>;
}

/** Name of the device that an entry is on and disappears with; `undefined` for a device itself. */
export function linkOf(resource: Resource): string | undefined {
  return kindOf(resource).linkOf(resource);
}

/** Name of the device that an entry is, or is on. */
export function deviceOf(resource: Resource): string | undefined {
  return resource.kind === "link" ? resource.name : linkOf(resource);
}

export { linkKey } from "./kinds/link.ts";
