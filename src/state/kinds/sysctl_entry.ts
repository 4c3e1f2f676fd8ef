/** A kernel parameter below /proc/sys. */

import { type EntryKind, type ResourceKey, STAGE } from "./entry_kind.ts";

export interface Sysctl {
  readonly kind: "sysctl";
  /** Path below /proc/sys, such as `net/ipv6/conf/flannel-v6.1/accept_ra`. */
  readonly path: string;
  readonly value: string;
  /** The device works without it where /proc/sys is read-only: in a container. */
  readonly isPrecaution?: true;
}

export const sysctlKind: EntryKind<Sysctl> = {
  key: ({ path }) => `sysctl ${path}` as ResourceKey,
  text: ({ path, value }) => `sysctl ${path} = ${value}`,
  isSame: (desired, actual) => desired.path === actual.path && desired.value === actual.value,
  linkOf: ({ path }) => /^net\/ipv[46]\/(?:conf|neigh)\/([^/]+)\//.exec(path)?.[1],
  // A parameter always has some value, so it is set over any other, and never deleted.
  isOurs: () => false,
  mayAdopt: () => false,
  stage: STAGE.linkSetting,
  foreign: "is replaced",
  isExclusive: false,
  needsLinkUp: false,
  dump: undefined,
};
