/** An address of a device. */

import { familyOf, type IpAddress, isLinkLocal } from "../../addr/ip.ts";
import { type EntryKind, ON_DEVICE, type ResourceKey, STAGE } from "./entry_kind.ts";

export interface Address {
  readonly kind: "address";
  readonly link: string;
  readonly address: IpAddress;
  readonly prefixLength: number;
}

export const addressKind: EntryKind<Address> = {
  ...ON_DEVICE,
  key: ({ address, prefixLength, link }) =>
    `address ${address}/${prefixLength} ${link}` as ResourceKey,
  text: ({ address, prefixLength, link }) => `addr ${address}/${prefixLength} dev ${link}`,
  isSame: (desired, actual) =>
    desired.link === actual.link && desired.address === actual.address &&
    desired.prefixLength === actual.prefixLength,
  // The kernel assigns link-local addresses to IPv6 devices by itself.
  isOurs: ({ link, address }, { links }) =>
    links.has(link) && !(familyOf(address) === 6 && isLinkLocal(address)),
  stage: STAGE.address,
  dump: { extent: "devices", when: "always" },
};
