/** A permanent neighbour entry (NUD_PERMANENT): the MAC address of `address` on `link`. */

import type { IpAddress } from "../../addr/ip.ts";
import type { MacAddress } from "../../addr/mac.ts";
import { type EntryKind, ON_DEVICE, type ResourceKey, STAGE } from "./entry_kind.ts";

export interface Neighbour {
  readonly kind: "neighbour";
  readonly link: string;
  readonly address: IpAddress;
  readonly mac: MacAddress;
}

export const neighbourKind: EntryKind<Neighbour> = {
  ...ON_DEVICE,
  key: ({ address, link }) => `neighbour ${address} ${link}` as ResourceKey,
  text: ({ address, mac, link }) => `neigh ${address} lladdr ${mac} dev ${link} nud permanent`,
  isSame: (desired, actual) =>
    desired.link === actual.link && desired.address === actual.address &&
    desired.mac === actual.mac,
  stage: STAGE.neighbour,
  dump: { extent: "devices", when: "always" },
};
