/** What a kind of kernel entry defines. Each kind is one file here, listed in `resource.ts`. */

import { type Prefix, prefixContains } from "../../addr/prefix.ts";

/** Canonical text that identifies an entry in its table; its first word is the kind. */
export type ResourceKey = string & { readonly __resourceKey: true };

/** Every property is required, so that a new kind has to decide each of them. */
export interface EntryKind<Entry> {
  /**
   * The fields by which the kernel distinguishes the entries of one table: two entries with one key
   * cannot both exist.
   */
  readonly key: (entry: Entry) => ResourceKey;
  /** One line: the object, then what `ip OBJECT show` or a similar command would print. */
  readonly text: (entry: Entry) => string;
  /** Whether an actual entry satisfies the desired one of the same key. */
  readonly isSame: (desired: Entry, actual: Entry) => boolean;
  /** Name of the device that the entry rests on and disappears with, if any. */
  readonly linkOf: (entry: Entry) => string | undefined;
  /** Whether the entry, by its own fields, belongs to this program. */
  readonly isOurs: (entry: Entry, criteria: OwnershipCriteria) => boolean;
  /** Whether a foreign entry may be replaced, but never deleted: Go flannel created it. */
  readonly mayAdopt: (entry: Entry, criteria: OwnershipCriteria) => boolean;
  readonly stage: Stage;
  /** What to do about another program's entry that holds the key of a desired one. */
  readonly foreign: "conflicts" | "is replaced";
  /**
   * Whether entries are created exclusively (NLM_F_EXCL), because the table is shared with other
   * programs. In the other tables, an entry that appears on our device is ours.
   */
  readonly isExclusive: boolean;
  /** Whether the device must be up before the entry can be set. */
  readonly needsLinkUp: boolean;
  /**
   * How entries are dumped: all of a table, or those of given devices, always or only for backends
   * that have such entries. `undefined`: not at all.
   */
  readonly dump:
    | { readonly extent: "table" | "devices"; readonly when: "always" | "requested" }
    | undefined;
}

/** What a kind decides whose entries are all on a device, and are ours on a device of ours. */
export const ON_DEVICE = {
  linkOf: ({ link }: { readonly link: string }) => link,
  isOurs: ({ link }: { readonly link: string }, { links }: OwnershipCriteria) => links.has(link),
  mayAdopt: () => false,
  foreign: "conflicts",
  isExclusive: false,
  needsLinkUp: true,
} as const;

/** Entries are created in this order and deleted in reverse: each needs those before it. */
export const STAGE = {
  link: 0,
  /** What a device needs before it has addresses. */
  linkSetting: 1,
  address: 2,
  /** Other hosts as a device knows them. */
  neighbour: 3,
  route: 4,
} as const;
export type Stage = typeof STAGE[keyof typeof STAGE];

/** How an entry is recognized as this program's. */
export interface OwnershipCriteria {
  /** Names of the devices that are this program's; everything on them is. */
  readonly links: ReadonlySet<string>;
  /**
   * Routes outside those devices are ours when they carry `RTPROT_FLANNEL` and lie inside one of
   * these networks, whatever device they leave by: the external interface may have been another one
   * before a restart. Two daemons on one host have disjoint networks. XFRM policies are ours when
   * they carry `XFRM_REQID` and lead from one of these networks to one of them.
   */
  readonly networks: readonly Prefix[];
  /** The external interface: Go flannel's routes by it may be adopted, see `mayAdopt`. */
  readonly routeLink: string | undefined;
  /** UDP ports that this program opened for FOU, in this run or a previous one. */
  readonly fouPorts?: ReadonlySet<number>;
}

/** Whether the prefix lies inside one of this program's networks. */
export function isInNetworks(prefix: Prefix, { networks }: OwnershipCriteria): boolean {
  return networks.some((network) => prefixContains(network, prefix));
}
