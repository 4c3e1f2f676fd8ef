/** A policy of the IPsec database (linux/xfrm.h, struct xfrm_userpolicy_info). */

import type { IpAddress } from "../../addr/ip.ts";
import type { Prefix } from "../../addr/prefix.ts";
import { type EntryKind, isInNetworks, type ResourceKey, STAGE } from "./entry_kind.ts";

export interface XfrmPolicy {
  readonly kind: "xfrm-policy";
  readonly direction: "out" | "in" | "fwd";
  readonly source: Prefix;
  readonly destination: Prefix;
  /**
   * The one template: an ESP tunnel. Absent in a policy as read that has an action other than
   * "allow", another kind of template, or several templates.
   */
  readonly tunnel?: XfrmTunnel;
}

export interface XfrmTunnel {
  readonly source: IpAddress;
  readonly destination: IpAddress;
  /** Ties the policy to the security associations made for it. */
  readonly reqid: number;
}

/** Request id of this program's security associations, the same as Go flannel's. */
export const XFRM_REQID = 11;

export const xfrmPolicyKind: EntryKind<XfrmPolicy> = {
  // The interface, mark and if_id of a policy are always 0 here.
  key: ({ direction, source, destination }) =>
    `xfrm-policy ${direction} ${source} ${destination}` as ResourceKey,
  text: policyText,
  isSame: (desired, actual) =>
    desired.direction === actual.direction && desired.source === actual.source &&
    desired.destination === actual.destination &&
    desired.tunnel?.source === actual.tunnel?.source &&
    desired.tunnel?.destination === actual.tunnel?.destination &&
    desired.tunnel?.reqid === actual.tunnel?.reqid,
  linkOf: () => undefined,
  isOurs: ({ tunnel, source, destination }, criteria) =>
    tunnel?.reqid === XFRM_REQID && isInNetworks(source, criteria) &&
    isInNetworks(destination, criteria),
  mayAdopt: () => false,
  stage: STAGE.route,
  foreign: "conflicts",
  isExclusive: true,
  needsLinkUp: false,
  dump: { extent: "table", when: "requested" },
};

function policyText(policy: XfrmPolicy): string {
  const { direction, source, destination, tunnel } = policy;
  const base = `xfrm policy src ${source} dst ${destination} dir ${direction}`;
  if (tunnel === undefined) return base;
  return `${base} tmpl src ${tunnel.source} dst ${tunnel.destination} proto esp ` +
    `reqid ${tunnel.reqid} mode tunnel`;
}
