/** A permanent forwarding entry of a vxlan device (AF_BRIDGE, NTF_SELF): the host of `mac`. */

import type { IpAddress } from "../../addr/ip.ts";
import type { MacAddress } from "../../addr/mac.ts";
import { type EntryKind, ON_DEVICE, type ResourceKey, STAGE } from "./entry_kind.ts";

export interface FdbEntry {
  readonly kind: "fdb";
  readonly link: string;
  readonly mac: MacAddress;
  readonly remote: IpAddress;
}

export const fdbKind: EntryKind<FdbEntry> = {
  ...ON_DEVICE,
  key: ({ mac, link }) => `fdb ${mac} ${link}` as ResourceKey,
  text: ({ mac, link, remote }) => `fdb ${mac} dev ${link} dst ${remote} self permanent`,
  isSame: (desired, actual) =>
    desired.link === actual.link && desired.mac === actual.mac && desired.remote === actual.remote,
  stage: STAGE.neighbour,
  dump: { extent: "devices", when: "always" },
};
