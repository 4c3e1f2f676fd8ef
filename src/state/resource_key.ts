/** The identity of an entry in the kernel's tables: two entries with one key cannot both exist. */

import type { Resource, ResourceKey } from "./resource.ts";

/**
 * Canonical text of the fields by which the kernel tells entries of one table apart: a route by
 * table, destination and metric (type of service is always 0 here), a forwarding entry by MAC.
 */
export function resourceKey(resource: Resource): ResourceKey {
  switch (resource.kind) {
    case "link":
      return linkKey(resource.name);
    case "address":
      return `address ${resource.address}/${resource.prefixLength} ${resource.link}` as ResourceKey;
    case "neighbour":
      return `neighbour ${resource.address} ${resource.link}` as ResourceKey;
    case "fdb":
      return `fdb ${resource.mac} ${resource.link}` as ResourceKey;
    case "route":
      return `route ${resource.destination} ${resource.metric} ${resource.table}` as ResourceKey;
    case "sysctl":
      return `sysctl ${resource.path}` as ResourceKey;
  }
}

export function linkKey(name: string): ResourceKey {
  return `link ${name}` as ResourceKey;
}

/** Name of the device that an entry is on and disappears with; `undefined` for a device itself. */
export function linkOf(resource: Resource): string | undefined {
  switch (resource.kind) {
    case "link":
      return undefined;
    case "route":
      return resource.type === "blackhole" ? undefined : resource.link;
    case "sysctl":
      return /^net\/ipv[46]\/(?:conf|neigh)\/([^/]+)\//.exec(resource.path)?.[1];
    default:
      return resource.link;
  }
}
