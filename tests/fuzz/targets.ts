/** Every reader of outside bytes or text. */

import type { FuzzTarget } from "./fuzz.ts";
import { ACCESS_TARGETS } from "./targets/access.ts";
import { CNI_TARGETS } from "./targets/cni.ts";
import { DATASTORE_TARGETS } from "./targets/datastore.ts";
import { LEASE_TARGETS } from "./targets/leases.ts";
import { NETLINK_TARGETS } from "./targets/netlink.ts";
import { TEXT_TARGETS } from "./targets/text.ts";
import { PACKET_TARGETS } from "./targets/packets.ts";
import { VICI_TARGETS } from "./targets/vici.ts";

export const TARGETS: readonly FuzzTarget[] = [
  ...LEASE_TARGETS,
  ...TEXT_TARGETS,
  ...NETLINK_TARGETS,
  ...VICI_TARGETS,
  ...DATASTORE_TARGETS,
  ...ACCESS_TARGETS,
  ...CNI_TARGETS,
  ...PACKET_TARGETS,
];
