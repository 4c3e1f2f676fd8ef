/** The identity of an entry in the kernel's tables: two entries with one key cannot both exist. */

import type { Resource, ResourceKey, ResourceKind } from "./resource.ts";

/**
 * Canonical text of the fields by which the kernel tells entries of one table apart: a route by
 * table, destination and metric (type of service is always 0 here), a forwarding entry by MAC, a
 * policy by direction and selector (its interface, mark and if_id are always 0 here). The first word
 * is the kind.
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
    case "wireguard-device":
      return `wireguard-device ${resource.link}` as ResourceKey;
    case "wireguard-peer":
      return `wireguard-peer ${resource.publicKey} ${resource.link}` as ResourceKey;
    case "fou":
      return `fou ${resource.port}` as ResourceKey;
    case "xfrm-policy": {
      const { direction, source, destination } = resource;
      return `xfrm-policy ${direction} ${source} ${destination}` as ResourceKey;
    }
  }
}

/** The kind of the entry that a key is of. */
export function kindOf(key: ResourceKey): ResourceKind {
  return key.slice(0, key.indexOf(" ")) as ResourceKind;
}

export function linkKey(name: string): ResourceKey {
  return `link ${name}` as ResourceKey;
}

/** Name of the device that an entry is on and disappears with; `undefined` for a device itself. */
export function linkOf(resource: Resource): string | undefined {
  switch (resource.kind) {
    case "link":
    case "fou":
    case "xfrm-policy":
      return undefined;
    case "route":
      return resource.type === "blackhole" ? undefined : resource.link;
    case "sysctl":
      return /^net\/ipv[46]\/(?:conf|neigh)\/([^/]+)\//.exec(resource.path)?.[1];
    default:
      return resource.link;
  }
}
