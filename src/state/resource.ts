/**
 * A kernel entry is a value, a `Resource`; this file lists its kinds.
 *
 * A desired state and an actual state are both maps from `resourceKey` to `Resource`, so that
 * comparing them is a comparison of values, key by key. Entries refer to a device by name: its
 * interface index is the kernel's to choose, and a name survives the device's recreation.
 *
 * A new kind is a file in `kinds` and a line in each of the two lists here, then its codec in
 * `src/kernel`.
 */

import { type Address, addressKind } from "./kinds/address.ts";
import type { EntryKind } from "./kinds/entry_kind.ts";
import { type FdbEntry, fdbKind } from "./kinds/fdb_entry.ts";
import { type FouPort, fouPortKind } from "./kinds/fou_port.ts";
import { type Link, linkKind } from "./kinds/link.ts";
import { type Neighbour, neighbourKind } from "./kinds/neighbour.ts";
import { type Route, routeKind } from "./kinds/route.ts";
import { type Sysctl, sysctlKind } from "./kinds/sysctl_entry.ts";
import { type WireguardDevice, wireguardDeviceKind } from "./kinds/wireguard_device.ts";
import { type WireguardPeer, wireguardPeerKind } from "./kinds/wireguard_peer.ts";
import { type XfrmPolicy, xfrmPolicyKind } from "./kinds/xfrm_policy.ts";

export type Resource =
  | Link
  | Address
  | Neighbour
  | FdbEntry
  | Route
  | Sysctl
  | WireguardDevice
  | WireguardPeer
  | FouPort
  | XfrmPolicy;
export type ResourceKind = Resource["kind"];

export const RESOURCE_KINDS: {
  readonly [Kind in ResourceKind]: EntryKind<Extract<Resource, { readonly kind: Kind }>>;
} = {
  link: linkKind,
  address: addressKind,
  neighbour: neighbourKind,
  fdb: fdbKind,
  route: routeKind,
  sysctl: sysctlKind,
  "wireguard-device": wireguardDeviceKind,
  "wireguard-peer": wireguardPeerKind,
  fou: fouPortKind,
  "xfrm-policy": xfrmPolicyKind,
};

/** The kinds that are dumped in this way. */
export function dumpedKinds(
  isWanted: (dump: NonNullable<EntryKind<Resource>["dump"]>) => boolean,
): readonly ResourceKind[] {
  return (Object.keys(RESOURCE_KINDS) as ResourceKind[]).filter((name) => {
    const { dump } = RESOURCE_KINDS[name];
    return dump !== undefined && isWanted(dump);
  });
}

/** The definition of an entry's kind. */
export function kindOf(resource: Resource): EntryKind<Resource> {
  return RESOURCE_KINDS[resource.kind] as EntryKind<Resource>;
}

export type { Address } from "./kinds/address.ts";
export type { ResourceKey } from "./kinds/entry_kind.ts";
export { STAGE } from "./kinds/entry_kind.ts";
export type { FdbEntry } from "./kinds/fdb_entry.ts";
export type { FouPort } from "./kinds/fou_port.ts";
export type {
  IpipLink,
  Link,
  LinkType,
  OtherLink,
  TunLink,
  VxlanLink,
  WireguardLink,
} from "./kinds/link.ts";
export { NO_MAC, VXLAN_DEFAULT_PORT } from "./kinds/link.ts";
export type { Neighbour } from "./kinds/neighbour.ts";
export type { Route } from "./kinds/route.ts";
export { defaultMetric, RT_TABLE_MAIN, RTPROT_FLANNEL, RTPROT_KERNEL } from "./kinds/route.ts";
export type { Sysctl } from "./kinds/sysctl_entry.ts";
export type { WireguardDevice } from "./kinds/wireguard_device.ts";
export type { WireguardEndpoint, WireguardPeer } from "./kinds/wireguard_peer.ts";
export type { XfrmPolicy, XfrmTunnel } from "./kinds/xfrm_policy.ts";
export { XFRM_REQID } from "./kinds/xfrm_policy.ts";
