/** A UDP port whose payload the kernel treats as packets of an IP protocol (linux/fou.h). IPv4. */

import { type EntryKind, type ResourceKey, STAGE } from "./entry_kind.ts";

export interface FouPort {
  readonly kind: "fou";
  readonly port: number;
  /** IPPROTO_*: 4 is IPv4 in IPv4. */
  readonly protocol: number;
}

export const fouPortKind: EntryKind<FouPort> = {
  key: ({ port }) => `fou ${port}` as ResourceKey,
  text: ({ port, protocol }) => `fou port ${port} ipproto ${protocol}`,
  isSame: (desired, actual) => desired.port === actual.port && desired.protocol === actual.protocol,
  linkOf: () => undefined,
  isOurs: ({ port }, { fouPorts }) => fouPorts?.has(port) ?? false,
  mayAdopt: () => false,
  stage: STAGE.linkSetting,
  foreign: "conflicts",
  isExclusive: false,
  needsLinkUp: false,
  dump: { extent: "table", when: "requested" },
};
