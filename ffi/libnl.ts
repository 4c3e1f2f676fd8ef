/**
 * libnl 3 (https://www.infradead.org/~tgr/libnl/): messages, addresses, and the objects of
 * rtnetlink. Only the functions that build messages are bound. This program sends and receives by
 * itself, because libnl reduces the kernel's errors to "Unspecific failure".
 *
 * Each library is opened on first use, libnl-3 before those that depend on it.
 */

import { type FFIFunction, FFIType, type Library } from "bun:ffi";
import { once, openLibrary } from "./library.ts";

const coreSymbols = {
  // struct nl_addr *nl_addr_build(int family, const void *buf, size_t size);
  nl_addr_build: { args: ["i32", "ptr", FFIType.u64_fast], returns: "ptr" },
  // int nl_addr_set_binary_addr(struct nl_addr *addr, const void *buf, size_t len);
  nl_addr_set_binary_addr: { args: ["ptr", "ptr", FFIType.u64_fast], returns: "i32" },
  // void nl_addr_set_prefixlen(struct nl_addr *addr, int n);
  nl_addr_set_prefixlen: { args: ["ptr", "i32"], returns: "void" },
  // void nl_addr_put(struct nl_addr *addr);
  nl_addr_put: { args: ["ptr"], returns: "void" },
  // struct nl_msg *nlmsg_alloc_simple(int nlmsgtype, int flags);
  nlmsg_alloc_simple: { args: ["i32", "i32"], returns: "ptr" },
  // struct nl_msg *nlmsg_alloc_size(size_t max);
  nlmsg_alloc_size: { args: [FFIType.u64_fast], returns: "ptr" },
  // void nlmsg_set_default_size(size_t max);
  nlmsg_set_default_size: { args: [FFIType.u64_fast], returns: "void" },
  // int nlmsg_append(struct nl_msg *n, void *data, size_t len, int pad);
  nlmsg_append: { args: ["ptr", "ptr", FFIType.u64_fast, "i32"], returns: "i32" },
  // int nla_put(struct nl_msg *msg, int attrtype, int datalen, const void *data);
  nla_put: { args: ["ptr", "i32", "i32", "ptr"], returns: "i32" },
  // int nla_put_u32(struct nl_msg *msg, int attrtype, uint32_t value);
  nla_put_u32: { args: ["ptr", "i32", "u32"], returns: "i32" },
  // struct nlattr *nla_nest_start(struct nl_msg *msg, int attrtype);
  nla_nest_start: { args: ["ptr", "i32"], returns: "ptr" },
  // int nla_nest_end(struct nl_msg *msg, struct nlattr *start);
  nla_nest_end: { args: ["ptr", "ptr"], returns: "i32" },
  // struct nlmsghdr *nlmsg_hdr(struct nl_msg *n);
  nlmsg_hdr: { args: ["ptr"], returns: "ptr" },
  // void nlmsg_free(struct nl_msg *msg);
  nlmsg_free: { args: ["ptr"], returns: "void" },
  // const char *nl_geterror(int error);
  nl_geterror: { args: ["i32"], returns: "cstring" },
} as const;

const routeSymbols = {
  // struct rtnl_link *rtnl_link_alloc(void);
  rtnl_link_alloc: { args: [], returns: "ptr" },
  // struct rtnl_link *rtnl_link_vxlan_alloc(void);
  rtnl_link_vxlan_alloc: { args: [], returns: "ptr" },
  // void rtnl_link_put(struct rtnl_link *link);
  rtnl_link_put: { args: ["ptr"], returns: "void" },
  // int rtnl_link_set_type(struct rtnl_link *link, const char *type);
  rtnl_link_set_type: { args: ["ptr", "ptr"], returns: "i32" },
  // void rtnl_link_set_name(struct rtnl_link *link, const char *name);
  rtnl_link_set_name: { args: ["ptr", "ptr"], returns: "void" },
  // void rtnl_link_set_ifindex(struct rtnl_link *link, int ifindex);
  rtnl_link_set_ifindex: { args: ["ptr", "i32"], returns: "void" },
  // void rtnl_link_set_mtu(struct rtnl_link *link, unsigned int mtu);
  rtnl_link_set_mtu: { args: ["ptr", "u32"], returns: "void" },
  // void rtnl_link_set_addr(struct rtnl_link *link, struct nl_addr *addr);
  rtnl_link_set_addr: { args: ["ptr", "ptr"], returns: "void" },
  // void rtnl_link_set_flags(struct rtnl_link *link, unsigned int flags);
  rtnl_link_set_flags: { args: ["ptr", "u32"], returns: "void" },
  // void rtnl_link_unset_flags(struct rtnl_link *link, unsigned int flags);
  rtnl_link_unset_flags: { args: ["ptr", "u32"], returns: "void" },
  // int rtnl_link_vxlan_set_id(struct rtnl_link *link, uint32_t id);
  rtnl_link_vxlan_set_id: { args: ["ptr", "u32"], returns: "i32" },
  // int rtnl_link_vxlan_set_link(struct rtnl_link *link, uint32_t index);
  rtnl_link_vxlan_set_link: { args: ["ptr", "u32"], returns: "i32" },
  // int rtnl_link_vxlan_set_local(struct rtnl_link *link, struct nl_addr *addr);
  rtnl_link_vxlan_set_local: { args: ["ptr", "ptr"], returns: "i32" },
  // int rtnl_link_vxlan_set_port(struct rtnl_link *link, uint32_t port);
  rtnl_link_vxlan_set_port: { args: ["ptr", "u32"], returns: "i32" },
  // int rtnl_link_vxlan_set_learning(struct rtnl_link *link, uint8_t learning);
  rtnl_link_vxlan_set_learning: { args: ["ptr", "u8"], returns: "i32" },
  // int rtnl_link_vxlan_set_flags(struct rtnl_link *link, uint32_t flags, int enable);
  rtnl_link_vxlan_set_flags: { args: ["ptr", "u32", "i32"], returns: "i32" },
  // int rtnl_link_build_add_request(struct rtnl_link *link, int flags, struct nl_msg **result);
  rtnl_link_build_add_request: { args: ["ptr", "i32", "ptr"], returns: "i32" },
  // int rtnl_link_build_change_request(struct rtnl_link *orig, struct rtnl_link *changes,
  //                                    int flags, struct nl_msg **result);
  rtnl_link_build_change_request: { args: ["ptr", "ptr", "i32", "ptr"], returns: "i32" },
  // int rtnl_link_build_delete_request(const struct rtnl_link *link, struct nl_msg **result);
  rtnl_link_build_delete_request: { args: ["ptr", "ptr"], returns: "i32" },
  // int rtnl_link_build_get_request(int ifindex, const char *name, struct nl_msg **result);
  rtnl_link_build_get_request: { args: ["i32", "ptr", "ptr"], returns: "i32" },

  // struct rtnl_addr *rtnl_addr_alloc(void);
  rtnl_addr_alloc: { args: [], returns: "ptr" },
  // void rtnl_addr_put(struct rtnl_addr *addr);
  rtnl_addr_put: { args: ["ptr"], returns: "void" },
  // void rtnl_addr_set_ifindex(struct rtnl_addr *addr, int ifindex);
  rtnl_addr_set_ifindex: { args: ["ptr", "i32"], returns: "void" },
  // void rtnl_addr_set_flags(struct rtnl_addr *addr, unsigned int flags);
  rtnl_addr_set_flags: { args: ["ptr", "u32"], returns: "void" },
  // int rtnl_addr_set_local(struct rtnl_addr *addr, struct nl_addr *local);
  rtnl_addr_set_local: { args: ["ptr", "ptr"], returns: "i32" },
  // int rtnl_addr_build_add_request(struct rtnl_addr *addr, int flags, struct nl_msg **result);
  rtnl_addr_build_add_request: { args: ["ptr", "i32", "ptr"], returns: "i32" },
  // int rtnl_addr_build_delete_request(struct rtnl_addr *addr, int flags, struct nl_msg **result);
  rtnl_addr_build_delete_request: { args: ["ptr", "i32", "ptr"], returns: "i32" },

  // struct rtnl_neigh *rtnl_neigh_alloc(void);
  rtnl_neigh_alloc: { args: [], returns: "ptr" },
  // void rtnl_neigh_put(struct rtnl_neigh *neigh);
  rtnl_neigh_put: { args: ["ptr"], returns: "void" },
  // void rtnl_neigh_set_family(struct rtnl_neigh *neigh, int family);
  rtnl_neigh_set_family: { args: ["ptr", "i32"], returns: "void" },
  // void rtnl_neigh_set_ifindex(struct rtnl_neigh *neigh, int ifindex);
  rtnl_neigh_set_ifindex: { args: ["ptr", "i32"], returns: "void" },
  // void rtnl_neigh_set_state(struct rtnl_neigh *neigh, int state);
  rtnl_neigh_set_state: { args: ["ptr", "i32"], returns: "void" },
  // void rtnl_neigh_set_flags(struct rtnl_neigh *neigh, unsigned int flags);
  rtnl_neigh_set_flags: { args: ["ptr", "u32"], returns: "void" },
  // void rtnl_neigh_set_lladdr(struct rtnl_neigh *neigh, struct nl_addr *addr);
  rtnl_neigh_set_lladdr: { args: ["ptr", "ptr"], returns: "void" },
  // int rtnl_neigh_set_dst(struct rtnl_neigh *neigh, struct nl_addr *addr);
  rtnl_neigh_set_dst: { args: ["ptr", "ptr"], returns: "i32" },
  // int rtnl_neigh_build_add_request(struct rtnl_neigh *neigh, int flags, struct nl_msg **result);
  rtnl_neigh_build_add_request: { args: ["ptr", "i32", "ptr"], returns: "i32" },
  // int rtnl_neigh_build_delete_request(struct rtnl_neigh *neigh, int flags,
  //                                     struct nl_msg **result);
  rtnl_neigh_build_delete_request: { args: ["ptr", "i32", "ptr"], returns: "i32" },

  // struct rtnl_route *rtnl_route_alloc(void);
  rtnl_route_alloc: { args: [], returns: "ptr" },
  // void rtnl_route_put(struct rtnl_route *route);
  rtnl_route_put: { args: ["ptr"], returns: "void" },
  // int rtnl_route_set_family(struct rtnl_route *route, uint8_t family);
  rtnl_route_set_family: { args: ["ptr", "u8"], returns: "i32" },
  // int rtnl_route_set_type(struct rtnl_route *route, uint8_t type);
  rtnl_route_set_type: { args: ["ptr", "u8"], returns: "i32" },
  // void rtnl_route_set_table(struct rtnl_route *route, uint32_t table);
  rtnl_route_set_table: { args: ["ptr", "u32"], returns: "void" },
  // void rtnl_route_set_scope(struct rtnl_route *route, uint8_t scope);
  rtnl_route_set_scope: { args: ["ptr", "u8"], returns: "void" },
  // void rtnl_route_set_protocol(struct rtnl_route *route, uint8_t protocol);
  rtnl_route_set_protocol: { args: ["ptr", "u8"], returns: "void" },
  // void rtnl_route_set_priority(struct rtnl_route *route, uint32_t priority);
  rtnl_route_set_priority: { args: ["ptr", "u32"], returns: "void" },
  // void rtnl_route_set_flags(struct rtnl_route *route, uint32_t flags);
  rtnl_route_set_flags: { args: ["ptr", "u32"], returns: "void" },
  // int rtnl_route_set_dst(struct rtnl_route *route, struct nl_addr *addr);
  rtnl_route_set_dst: { args: ["ptr", "ptr"], returns: "i32" },
  // int rtnl_route_set_pref_src(struct rtnl_route *route, struct nl_addr *addr);
  rtnl_route_set_pref_src: { args: ["ptr", "ptr"], returns: "i32" },
  // void rtnl_route_add_nexthop(struct rtnl_route *route, struct rtnl_nexthop *nh);
  rtnl_route_add_nexthop: { args: ["ptr", "ptr"], returns: "void" },
  // struct rtnl_nexthop *rtnl_route_nh_alloc(void);
  rtnl_route_nh_alloc: { args: [], returns: "ptr" },
  // void rtnl_route_nh_set_ifindex(struct rtnl_nexthop *nh, int ifindex);
  rtnl_route_nh_set_ifindex: { args: ["ptr", "i32"], returns: "void" },
  // void rtnl_route_nh_set_gateway(struct rtnl_nexthop *nh, struct nl_addr *addr);
  rtnl_route_nh_set_gateway: { args: ["ptr", "ptr"], returns: "void" },
  // int rtnl_route_build_add_request(struct rtnl_route *tmpl, int flags, struct nl_msg **result);
  rtnl_route_build_add_request: { args: ["ptr", "i32", "ptr"], returns: "i32" },
  // int rtnl_route_build_del_request(struct rtnl_route *tmpl, int flags, struct nl_msg **result);
  rtnl_route_build_del_request: { args: ["ptr", "i32", "ptr"], returns: "i32" },
} as const;

const genericSymbols = {
  // void *genlmsg_put(struct nl_msg *msg, uint32_t port, uint32_t seq, int family, int hdrlen,
  //                   int flags, uint8_t cmd, uint8_t version);
  genlmsg_put: { args: ["ptr", "u32", "u32", "i32", "i32", "i32", "u8", "u8"], returns: "ptr" },
} as const;

const xfrmSymbols = {
  // struct xfrmnl_sel *xfrmnl_sel_alloc(void);
  xfrmnl_sel_alloc: { args: [], returns: "ptr" },
  // void xfrmnl_sel_put(struct xfrmnl_sel *sel);
  xfrmnl_sel_put: { args: ["ptr"], returns: "void" },
  // int xfrmnl_sel_set_family(struct xfrmnl_sel *sel, unsigned int family);
  xfrmnl_sel_set_family: { args: ["ptr", "u32"], returns: "i32" },
  // int xfrmnl_sel_set_saddr(struct xfrmnl_sel *sel, struct nl_addr *addr);
  xfrmnl_sel_set_saddr: { args: ["ptr", "ptr"], returns: "i32" },
  // int xfrmnl_sel_set_daddr(struct xfrmnl_sel *sel, struct nl_addr *addr);
  xfrmnl_sel_set_daddr: { args: ["ptr", "ptr"], returns: "i32" },
  // int xfrmnl_sel_set_prefixlen_s(struct xfrmnl_sel *sel, unsigned int prefixlen);
  xfrmnl_sel_set_prefixlen_s: { args: ["ptr", "u32"], returns: "i32" },
  // int xfrmnl_sel_set_prefixlen_d(struct xfrmnl_sel *sel, unsigned int prefixlen);
  xfrmnl_sel_set_prefixlen_d: { args: ["ptr", "u32"], returns: "i32" },

  // struct xfrmnl_user_tmpl *xfrmnl_user_tmpl_alloc(void);
  xfrmnl_user_tmpl_alloc: { args: [], returns: "ptr" },
  // int xfrmnl_user_tmpl_set_family(struct xfrmnl_user_tmpl *utmpl, unsigned int family);
  xfrmnl_user_tmpl_set_family: { args: ["ptr", "u32"], returns: "i32" },
  // int xfrmnl_user_tmpl_set_saddr(struct xfrmnl_user_tmpl *utmpl, struct nl_addr *addr);
  xfrmnl_user_tmpl_set_saddr: { args: ["ptr", "ptr"], returns: "i32" },
  // int xfrmnl_user_tmpl_set_daddr(struct xfrmnl_user_tmpl *utmpl, struct nl_addr *addr);
  xfrmnl_user_tmpl_set_daddr: { args: ["ptr", "ptr"], returns: "i32" },
  // int xfrmnl_user_tmpl_set_proto(struct xfrmnl_user_tmpl *utmpl, unsigned int protocol);
  xfrmnl_user_tmpl_set_proto: { args: ["ptr", "u32"], returns: "i32" },
  // int xfrmnl_user_tmpl_set_mode(struct xfrmnl_user_tmpl *utmpl, unsigned int mode);
  xfrmnl_user_tmpl_set_mode: { args: ["ptr", "u32"], returns: "i32" },
  // int xfrmnl_user_tmpl_set_reqid(struct xfrmnl_user_tmpl *utmpl, unsigned int reqid);
  xfrmnl_user_tmpl_set_reqid: { args: ["ptr", "u32"], returns: "i32" },
  // int xfrmnl_user_tmpl_set_aalgos(struct xfrmnl_user_tmpl *utmpl, unsigned int aalgos);
  xfrmnl_user_tmpl_set_aalgos: { args: ["ptr", "u32"], returns: "i32" },
  // int xfrmnl_user_tmpl_set_ealgos(struct xfrmnl_user_tmpl *utmpl, unsigned int ealgos);
  xfrmnl_user_tmpl_set_ealgos: { args: ["ptr", "u32"], returns: "i32" },
  // int xfrmnl_user_tmpl_set_calgos(struct xfrmnl_user_tmpl *utmpl, unsigned int calgos);
  xfrmnl_user_tmpl_set_calgos: { args: ["ptr", "u32"], returns: "i32" },

  // struct xfrmnl_ltime_cfg *xfrmnl_ltime_cfg_alloc(void);
  xfrmnl_ltime_cfg_alloc: { args: [], returns: "ptr" },
  // void xfrmnl_ltime_cfg_put(struct xfrmnl_ltime_cfg *ltime);
  xfrmnl_ltime_cfg_put: { args: ["ptr"], returns: "void" },
  // int xfrmnl_ltime_cfg_set_soft_bytelimit(struct xfrmnl_ltime_cfg *, unsigned long long);
  xfrmnl_ltime_cfg_set_soft_bytelimit: { args: ["ptr", "u64"], returns: "i32" },
  // int xfrmnl_ltime_cfg_set_hard_bytelimit(struct xfrmnl_ltime_cfg *, unsigned long long);
  xfrmnl_ltime_cfg_set_hard_bytelimit: { args: ["ptr", "u64"], returns: "i32" },
  // int xfrmnl_ltime_cfg_set_soft_packetlimit(struct xfrmnl_ltime_cfg *, unsigned long long);
  xfrmnl_ltime_cfg_set_soft_packetlimit: { args: ["ptr", "u64"], returns: "i32" },
  // int xfrmnl_ltime_cfg_set_hard_packetlimit(struct xfrmnl_ltime_cfg *, unsigned long long);
  xfrmnl_ltime_cfg_set_hard_packetlimit: { args: ["ptr", "u64"], returns: "i32" },

  // struct xfrmnl_sp *xfrmnl_sp_alloc(void);
  xfrmnl_sp_alloc: { args: [], returns: "ptr" },
  // void xfrmnl_sp_put(struct xfrmnl_sp *sp);
  xfrmnl_sp_put: { args: ["ptr"], returns: "void" },
  // int xfrmnl_sp_set_sel(struct xfrmnl_sp *sp, struct xfrmnl_sel *sel);
  xfrmnl_sp_set_sel: { args: ["ptr", "ptr"], returns: "i32" },
  // int xfrmnl_sp_set_lifetime_cfg(struct xfrmnl_sp *sp, struct xfrmnl_ltime_cfg *ltime);
  xfrmnl_sp_set_lifetime_cfg: { args: ["ptr", "ptr"], returns: "i32" },
  // int xfrmnl_sp_set_priority(struct xfrmnl_sp *sp, unsigned int priority);
  xfrmnl_sp_set_priority: { args: ["ptr", "u32"], returns: "i32" },
  // int xfrmnl_sp_set_dir(struct xfrmnl_sp *sp, unsigned int dir);
  xfrmnl_sp_set_dir: { args: ["ptr", "u32"], returns: "i32" },
  // int xfrmnl_sp_set_action(struct xfrmnl_sp *sp, unsigned int action);
  xfrmnl_sp_set_action: { args: ["ptr", "u32"], returns: "i32" },
  // void xfrmnl_sp_add_usertemplate(struct xfrmnl_sp *sp, struct xfrmnl_user_tmpl *utmpl);
  xfrmnl_sp_add_usertemplate: { args: ["ptr", "ptr"], returns: "void" },
  // int xfrmnl_sp_build_add_request(struct xfrmnl_sp *tmpl, int flags, struct nl_msg **result);
  xfrmnl_sp_build_add_request: { args: ["ptr", "i32", "ptr"], returns: "i32" },
  // int xfrmnl_sp_build_update_request(struct xfrmnl_sp *tmpl, int flags, struct nl_msg **result);
  xfrmnl_sp_build_update_request: { args: ["ptr", "i32", "ptr"], returns: "i32" },
  // int xfrmnl_sp_build_delete_request(struct xfrmnl_sp *tmpl, int flags, struct nl_msg **result);
  xfrmnl_sp_build_delete_request: { args: ["ptr", "i32", "ptr"], returns: "i32" },
} as const;

/** netlink/route/link/vxlan.h */
export const RTNL_LINK_VXLAN_F_GBP = 1;

/** The functions of libnl-3. */
export type LibnlCore = Library<typeof coreSymbols>["symbols"];

/** For rtnetlink messages: libnl-3 and libnl-route-3 together. */
export type Libnl = LibnlCore & Library<typeof routeSymbols>["symbols"];

/** For generic netlink messages: libnl-3 and libnl-genl-3 together. */
export type LibnlGeneric = LibnlCore & Library<typeof genericSymbols>["symbols"];

/** For messages to the IPsec database: libnl-3 and libnl-xfrm-3 together. */
export type LibnlXfrm = LibnlCore & Library<typeof xfrmSymbols>["symbols"];

/** Opens libnl-3 alone, which the other libnl libraries need. Throws `LibraryError`. */
export const libnlCore: () => LibnlCore = once(() => open("libnl-3", coreSymbols));

/** Opens libnl-3 and libnl-route-3. Throws `LibraryError`. */
export const libnl: () => Libnl = once(() => ({
  ...libnlCore(),
  ...open("libnl-route-3", routeSymbols),
}));

/** Opens libnl-3 and libnl-genl-3. Throws `LibraryError`. */
export const libnlGeneric: () => LibnlGeneric = once(() => ({
  ...libnlCore(),
  ...open("libnl-genl-3", genericSymbols),
}));

/** Opens libnl-3 and libnl-xfrm-3. Throws `LibraryError`. */
export const libnlXfrm: () => LibnlXfrm = once(() => ({
  ...libnlCore(),
  ...open("libnl-xfrm-3", xfrmSymbols),
}));

function open<Symbols extends Record<string, FFIFunction>>(
  name: string,
  symbols: Symbols,
): Library<Symbols>["symbols"] {
  const names = { sonames: [`${name}.so.200`], debianPackage: `${name}-200` };
  return openLibrary(names, symbols).symbols;
}
