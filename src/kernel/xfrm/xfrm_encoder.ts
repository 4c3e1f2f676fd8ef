/** Encodes policies as messages to the IPsec database (linux/xfrm.h), with libnl-xfrm. */

import { type LibnlXfrm, libnlXfrm } from "../../../ffi/libnl.ts";
import * as k from "../../../ffi/linux.ts";
import type { Pointer } from "../../../ffi/memory.ts";
import { type Family, familyOf } from "../../addr/ip.ts";
import { prefixAddress, prefixLength } from "../../addr/prefix.ts";
import type { XfrmPolicy, XfrmTunnel } from "../../state/resource.ts";
import type { EntryOperation } from "../table/entry_operation.ts";
import { addressFamily } from "../wire/address_family.ts";
import { LibnlBatch } from "../wire/libnl_batch.ts";
import { allocated } from "../wire/message_batch.ts";

/** XFRM_POLICY_*, by the direction's name. */
export const DIRECTIONS = {
  in: k.XFRM_POLICY_IN,
  out: k.XFRM_POLICY_OUT,
  fwd: k.XFRM_POLICY_FWD,
} as const;

/** A batch of messages, and the libnl objects that they are built from. */
export class XfrmEncoder extends LibnlBatch<LibnlXfrm> implements Disposable {
  /** One for each family: each policy puts other bytes into the same objects. */
  readonly #templates = new Map<Family, Template>();

  /** Throws `LibraryError` if there is no libnl-xfrm. */
  constructor() {
    super(libnlXfrm());
  }

  /**
   * Appends the message for a policy of the highest priority, 0, like Go flannel's. The kernel
   * refuses "create" with EEXIST if the key exists. Throws `RangeError` for a policy without a
   * tunnel.
   */
  policy(operation: EntryOperation, policy: XfrmPolicy): void {
    const template = this.#template(familyOf(policy.source));
    this.#fill(template, policy, operation);
    const { nl } = this;
    const result = operation === "delete"
      ? nl.xfrmnl_sp_build_delete_request(template.policy, 0, this.out)
      : operation === "create"
      ? nl.xfrmnl_sp_build_add_request(template.policy, k.NLM_F_EXCL, this.out)
      : nl.xfrmnl_sp_build_update_request(template.policy, 0, this.out);
    this.append(result);
  }

  /** Appends a request for all policies (XFRM_MSG_GETPOLICY). */
  dump(): void {
    this.build(k.XFRM_MSG_GETPOLICY, k.NLM_F_DUMP, new Uint8Array(k.xfrm_userpolicy_id.size));
  }

  [Symbol.dispose](): void {
    for (const template of this.#templates.values()) template.free();
    this.#templates.clear();
  }

  #fill(template: Template, policy: XfrmPolicy, operation: EntryOperation): void {
    const { nl } = this;
    const { source, destination, tunnel } = policy;
    this.assignAddress(template.source, prefixAddress(source));
    this.assignAddress(template.destination, prefixAddress(destination));
    nl.xfrmnl_sel_set_prefixlen_s(template.selector, prefixLength(source));
    nl.xfrmnl_sel_set_prefixlen_d(template.selector, prefixLength(destination));
    nl.xfrmnl_sp_set_dir(template.policy, DIRECTIONS[policy.direction]);
    if (operation === "delete") return;
    if (tunnel === undefined) throw new RangeError("cannot create a policy without a tunnel");
    this.#fillTunnel(template, tunnel);
  }

  #fillTunnel(template: Template, tunnel: XfrmTunnel): void {
    this.assignAddress(template.tunnelSource, tunnel.source);
    this.assignAddress(template.tunnelDestination, tunnel.destination);
    this.nl.xfrmnl_user_tmpl_set_reqid(template.tunnel, tunnel.reqid);
  }

  #template(family: Family): Template {
    let template = this.#templates.get(family);
    if (template === undefined) this.#templates.set(family, template = this.#newTemplate(family));
    return template;
  }

  #newTemplate(family: Family): Template {
    const { nl } = this;
    const policy = allocated(nl.xfrmnl_sp_alloc());
    const selector = allocated(nl.xfrmnl_sel_alloc());
    const tunnel = allocated(nl.xfrmnl_user_tmpl_alloc());
    const lifetime = allocated(nl.xfrmnl_ltime_cfg_alloc());
    const addresses = Array.from({ length: 4 }, () => this.newAddress(family));
    const [source, destination, tunnelSource, tunnelDestination] = addresses as [
      Pointer,
      Pointer,
      Pointer,
      Pointer,
    ];
    nl.xfrmnl_sel_set_family(selector, addressFamily(family));
    nl.xfrmnl_sel_set_saddr(selector, source);
    nl.xfrmnl_sel_set_daddr(selector, destination);
    nl.xfrmnl_sp_set_sel(policy, selector);
    nl.xfrmnl_ltime_cfg_set_soft_bytelimit(lifetime, XFRM_INF);
    nl.xfrmnl_ltime_cfg_set_hard_bytelimit(lifetime, XFRM_INF);
    nl.xfrmnl_ltime_cfg_set_soft_packetlimit(lifetime, XFRM_INF);
    nl.xfrmnl_ltime_cfg_set_hard_packetlimit(lifetime, XFRM_INF);
    nl.xfrmnl_sp_set_lifetime_cfg(policy, lifetime);
    nl.xfrmnl_sp_set_priority(policy, 0);
    nl.xfrmnl_sp_set_action(policy, k.XFRM_POLICY_ALLOW);
    nl.xfrmnl_user_tmpl_set_family(tunnel, addressFamily(family));
    nl.xfrmnl_user_tmpl_set_saddr(tunnel, tunnelSource);
    nl.xfrmnl_user_tmpl_set_daddr(tunnel, tunnelDestination);
    nl.xfrmnl_user_tmpl_set_proto(tunnel, k.IPPROTO_ESP);
    nl.xfrmnl_user_tmpl_set_mode(tunnel, k.XFRM_MODE_TUNNEL);
    nl.xfrmnl_user_tmpl_set_aalgos(tunnel, ANY_ALGORITHM);
    nl.xfrmnl_user_tmpl_set_ealgos(tunnel, ANY_ALGORITHM);
    nl.xfrmnl_user_tmpl_set_calgos(tunnel, ANY_ALGORITHM);
    nl.xfrmnl_sp_add_usertemplate(policy, tunnel); // the policy owns it now
    const free = () => {
      nl.xfrmnl_sp_put(policy);
      nl.xfrmnl_sel_put(selector);
      nl.xfrmnl_ltime_cfg_put(lifetime);
      for (const address of addresses) nl.nl_addr_put(address);
    };
    return { policy, selector, tunnel, source, destination, tunnelSource, tunnelDestination, free };
  }
}

/** libnl's objects for the policies of one family. */
interface Template {
  readonly policy: Pointer;
  readonly selector: Pointer;
  readonly tunnel: Pointer;
  readonly source: Pointer;
  readonly destination: Pointer;
  readonly tunnelSource: Pointer;
  readonly tunnelDestination: Pointer;
  free(): void;
}

/** linux/xfrm.h: no limit of bytes or packets. */
const XFRM_INF = 0xffff_ffff_ffff_ffffn;
/** In a template's masks, each bit allows one algorithm. */
const ANY_ALGORITHM = 0xffff_ffff;
