/**
 * Kernel constants and struct layouts, spelled as in the headers. A test compiles a C program
 * against the system's headers and compares every value.
 *
 * Layouts are byte offsets by field name, with the whole size as `size`.
 */

// sys/socket.h (asm-generic/socket.h: the same on x86-64 and arm64)
export const AF_UNSPEC = 0;
export const AF_UNIX = 1;
export const AF_INET = 2;
export const AF_BRIDGE = 7;
export const AF_INET6 = 10;
export const AF_NETLINK = 16;
export const SOCK_STREAM = 1;
export const SOCK_DGRAM = 2;
export const SOCK_RAW = 3;
export const SOCK_NONBLOCK = 0o4000;
export const SOCK_CLOEXEC = 0o2000000;
export const SOL_SOCKET = 1;
export const SO_RCVBUF = 8;
export const SO_PEERCRED = 17;
export const SO_SNDBUFFORCE = 32;
export const SO_RCVBUFFORCE = 33;
export const MSG_TRUNC = 0x20;
export const MSG_DONTWAIT = 0x40;
export const POLLIN = 1; // poll.h
export const POLLERR = 8; // poll.h
export const MFD_CLOEXEC = 1; // linux/memfd.h
export const F_SETFD = 2; // fcntl.h
export const FD_CLOEXEC = 1; // fcntl.h
export const F_DUPFD_CLOEXEC = 1030; // fcntl.h
export const LOCK_EX = 2; // sys/file.h
export const LOCK_NB = 4; // sys/file.h

// linux/netlink.h
export const NETLINK_ROUTE = 0;
export const NETLINK_XFRM = 6;
export const NETLINK_GENERIC = 16;
export const SOL_NETLINK = 270;
export const NETLINK_ADD_MEMBERSHIP = 1;
export const NETLINK_CAP_ACK = 10;
export const NETLINK_EXT_ACK = 11;
export const NETLINK_GET_STRICT_CHK = 12;
export const NLM_F_REQUEST = 0x01;
export const NLM_F_ACK = 0x04;
export const NLM_F_DUMP_INTR = 0x10;
export const NLM_F_DUMP = 0x300;
export const NLM_F_REPLACE = 0x100;
export const NLM_F_EXCL = 0x200;
export const NLM_F_CREATE = 0x400;
export const NLM_F_CAPPED = 0x100;
export const NLM_F_ACK_TLVS = 0x200;
export const NLMSG_ERROR = 0x2;
export const NLMSG_DONE = 0x3;
export const NLMSGERR_ATTR_MSG = 1;
export const NLA_F_NESTED = 0x8000;
export const NLA_F_NET_BYTEORDER = 0x4000;

// linux/rtnetlink.h
export const RTM_NEWLINK = 16;
export const RTM_DELLINK = 17;
export const RTM_GETLINK = 18;
export const RTM_NEWADDR = 20;
export const RTM_DELADDR = 21;
export const RTM_GETADDR = 22;
export const RTM_NEWROUTE = 24;
export const RTM_DELROUTE = 25;
export const RTM_GETROUTE = 26;
export const RTM_NEWNEIGH = 28;
export const RTM_DELNEIGH = 29;
export const RTM_GETNEIGH = 30;
export const RTM_NEWNEXTHOP = 104;
export const RTM_DELNEXTHOP = 105;
export const RTM_GETNEXTHOP = 106;
export const RTNLGRP_LINK = 1;
export const RTNLGRP_NEIGH = 3;
export const RTNLGRP_IPV4_IFADDR = 5;
export const RTNLGRP_IPV4_ROUTE = 7;
export const RTNLGRP_IPV6_IFADDR = 9;
export const RTNLGRP_IPV6_ROUTE = 11;
export const RTNLGRP_NEXTHOP = 32;
export const RT_SCOPE_UNIVERSE = 0;
export const RT_SCOPE_LINK = 253;
export const RTN_UNICAST = 1;
export const RTN_LOCAL = 2;
export const RTN_BLACKHOLE = 6;
export const RTNH_F_ONLINK = 4;
export const RTM_F_CLONED = 0x200;
export const RTA_DST = 1;
export const RTA_OIF = 4;
export const RTA_GATEWAY = 5;
export const RTA_PRIORITY = 6;
export const RTA_PREFSRC = 7;
export const RTA_MULTIPATH = 9;
export const RTA_TABLE = 15;
export const RTA_VIA = 18;
export const RTA_NH_ID = 30;
export const RTEXT_FILTER_SKIP_STATS = 8;

// linux/nexthop.h
export const NHA_ID = 1;
export const NHA_GROUP = 2;
export const NHA_OIF = 5;
export const NHA_GATEWAY = 6;
export const NHA_FDB = 11;

// linux/if.h
export const IFF_UP = 1;

// linux/if_link.h
export const IFLA_ADDRESS = 1;
export const IFLA_IFNAME = 3;
export const IFLA_MTU = 4;
export const IFLA_LINKINFO = 18;
export const IFLA_EXT_MASK = 29;
export const IFLA_PROP_LIST = 52;
export const IFLA_INFO_KIND = 1;
export const IFLA_INFO_DATA = 2;
export const IFLA_VXLAN_ID = 1;
export const IFLA_VXLAN_LINK = 3;
export const IFLA_VXLAN_LOCAL = 4;
export const IFLA_VXLAN_LEARNING = 7;
export const IFLA_VXLAN_PORT = 15;
export const IFLA_VXLAN_LOCAL6 = 17;
export const IFLA_VXLAN_GBP = 23;

// linux/if_tunnel.h
export const IFLA_IPTUN_LOCAL = 2;
export const IFLA_IPTUN_REMOTE = 3;
export const IFLA_IPTUN_TTL = 4;
export const IFLA_IPTUN_PMTUDISC = 10;
export const IFLA_IPTUN_ENCAP_TYPE = 15;
export const IFLA_IPTUN_ENCAP_FLAGS = 16;
export const IFLA_IPTUN_ENCAP_SPORT = 17;
export const IFLA_IPTUN_ENCAP_DPORT = 18;
export const IFLA_IPTUN_COLLECT_METADATA = 19;
export const TUNNEL_ENCAP_NONE = 0;
export const TUNNEL_ENCAP_FOU = 1;

// linux/fou.h
export const FOU_GENL_VERSION = 1;
export const FOU_ATTR_PORT = 1;
export const FOU_ATTR_AF = 2;
export const FOU_ATTR_IPPROTO = 3;
export const FOU_ATTR_TYPE = 4;
export const FOU_ATTR_LOCAL_V4 = 6;
export const FOU_ATTR_PEER_PORT = 10;
export const FOU_ATTR_IFINDEX = 11;
export const FOU_CMD_ADD = 1;
export const FOU_CMD_DEL = 2;
export const FOU_CMD_GET = 3;
export const FOU_ENCAP_DIRECT = 1;

// linux/if_link.h
export const IFLA_TUN_TYPE = 3;
export const IFLA_TUN_PI = 4;
export const IFLA_TUN_VNET_HDR = 5;
export const IFLA_TUN_MULTI_QUEUE = 7;

// linux/if_tun.h (asm-generic/ioctl.h: the same on x86-64 and arm64)
export const TUNSETIFF = 0x400454ca;
export const TUNSETPERSIST = 0x400454cb;
export const TUNGETIFF = 0x800454d2;
export const IFF_TUN = 0x1;
export const IFF_PERSIST = 0x800;
export const IFF_NO_PI = 0x1000;

// linux/sockios.h
export const SIOCGIFINDEX = 0x8933;
export const SIOCGIFFLAGS = 0x8913;
export const SIOCSIFFLAGS = 0x8914;
export const SIOCSIFMTU = 0x8922;
export const SIOCSIFNAME = 0x8923;

// netinet/in.h, linux/udp.h, sys/eventfd.h
export const IPPROTO_RAW = 255;
export const IPPROTO_UDP = 17;
export const UDP_SEGMENT = 103;
export const EFD_CLOEXEC = 0o2000000;
export const EFD_NONBLOCK = 0o4000;

// linux/if_addr.h
export const IFA_ADDRESS = 1;
export const IFA_LOCAL = 2;
export const IFA_LABEL = 3;
export const IFA_FLAGS = 8;
export const IFA_F_TEMPORARY = 1;
export const IFA_F_NODAD = 2;
export const IFA_F_DEPRECATED = 0x20;
export const IFA_F_PERMANENT = 0x80;

// linux/neighbour.h
export const NDA_DST = 1;
export const NDA_LLADDR = 2;
export const NDA_IFINDEX = 8;
export const NTF_SELF = 2;
export const NUD_PERMANENT = 0x80;

// linux/genetlink.h
export const GENL_ID_CTRL = 16;
export const CTRL_CMD_GETFAMILY = 3;
export const CTRL_ATTR_FAMILY_ID = 1;
export const CTRL_ATTR_FAMILY_NAME = 2;

// linux/wireguard.h
export const WG_GENL_VERSION = 1;
export const WG_KEY_LEN = 32;
export const WG_CMD_GET_DEVICE = 0;
export const WG_CMD_SET_DEVICE = 1;
export const WGDEVICE_A_IFINDEX = 1;
export const WGDEVICE_A_IFNAME = 2;
export const WGDEVICE_A_PRIVATE_KEY = 3;
export const WGDEVICE_A_LISTEN_PORT = 6;
export const WGDEVICE_A_PEERS = 8;
export const WGPEER_F_REMOVE_ME = 1;
export const WGPEER_F_REPLACE_ALLOWEDIPS = 2;
export const WGPEER_F_UPDATE_ONLY = 4;
export const WGPEER_A_PUBLIC_KEY = 1;
export const WGPEER_A_PRESHARED_KEY = 2;
export const WGPEER_A_FLAGS = 3;
export const WGPEER_A_ENDPOINT = 4;
export const WGPEER_A_PERSISTENT_KEEPALIVE_INTERVAL = 5;
export const WGPEER_A_LAST_HANDSHAKE_TIME = 6;
export const WGPEER_A_ALLOWEDIPS = 9;
export const WGALLOWEDIP_A_FAMILY = 1;
export const WGALLOWEDIP_A_IPADDR = 2;
export const WGALLOWEDIP_A_CIDR_MASK = 3;

// linux/xfrm.h
export const XFRM_MSG_NEWSA = 0x10;
export const XFRM_MSG_DELSA = 0x11;
export const XFRM_MSG_GETSA = 0x12;
export const XFRM_MSG_NEWPOLICY = 0x13;
export const XFRM_MSG_DELPOLICY = 0x14;
export const XFRM_MSG_GETPOLICY = 0x15;
export const XFRM_MSG_UPDPOLICY = 0x19;
export const XFRM_MSG_FLUSHSA = 0x1c;
export const XFRM_MSG_FLUSHPOLICY = 0x1d;
export const XFRMNLGRP_SA = 3;
export const XFRMNLGRP_POLICY = 4;
export const XFRMA_ALG_AUTH = 1;
export const XFRMA_ALG_CRYPT = 2;
export const XFRMA_TMPL = 5;
export const XFRMA_SA = 6;
export const XFRMA_POLICY = 7;
export const XFRMA_POLICY_TYPE = 16;
export const XFRMA_MARK = 21;
export const XFRMA_IF_ID = 31;
export const XFRM_POLICY_IN = 0;
export const XFRM_POLICY_OUT = 1;
export const XFRM_POLICY_FWD = 2;
export const XFRM_POLICY_ALLOW = 0;
export const XFRM_POLICY_TYPE_MAIN = 0;
export const XFRM_MODE_TUNNEL = 1;
export const IPPROTO_ESP = 50; // netinet/in.h

export const nlmsghdr = {
  size: 16,
  nlmsg_len: 0,
  nlmsg_type: 4,
  nlmsg_flags: 6,
  nlmsg_seq: 8,
  nlmsg_pid: 12,
} as const; // linux/netlink.h
export const nlmsgerr = { size: 20, error: 0, msg: 4 } as const; // linux/netlink.h
export const nlattr = { size: 4, nla_len: 0, nla_type: 2 } as const; // linux/netlink.h
export const genlmsghdr = { size: 4, cmd: 0, version: 1 } as const; // linux/genetlink.h
export const ucred = { size: 12, pid: 0, uid: 4, gid: 8 } as const; // sys/socket.h
export const sockaddr_nl = {
  size: 12,
  nl_family: 0,
  nl_pid: 4,
  nl_groups: 8,
} as const; // linux/netlink.h
export const sockaddr_in = {
  size: 16,
  sin_family: 0,
  sin_port: 2,
  sin_addr: 4,
} as const; // netinet/in.h
export const sockaddr_in6 = {
  size: 28,
  sin6_family: 0,
  sin6_port: 2,
  sin6_flowinfo: 4,
  sin6_addr: 8,
  sin6_scope_id: 24,
} as const; // netinet/in.h
export const __kernel_timespec = { size: 16, tv_sec: 0, tv_nsec: 8 } as const; // linux/time_types.h
export const ifinfomsg = {
  size: 16,
  ifi_family: 0,
  ifi_type: 2,
  ifi_index: 4,
  ifi_flags: 8,
  ifi_change: 12,
} as const; // linux/rtnetlink.h
export const ifaddrmsg = {
  size: 8,
  ifa_family: 0,
  ifa_prefixlen: 1,
  ifa_flags: 2,
  ifa_scope: 3,
  ifa_index: 4,
} as const; // linux/if_addr.h
export const ndmsg = {
  size: 12,
  ndm_family: 0,
  ndm_ifindex: 4,
  ndm_state: 8,
  ndm_flags: 10,
  ndm_type: 11,
} as const; // linux/neighbour.h
export const rtmsg = {
  size: 12,
  rtm_family: 0,
  rtm_dst_len: 1,
  rtm_src_len: 2,
  rtm_tos: 3,
  rtm_table: 4,
  rtm_protocol: 5,
  rtm_scope: 6,
  rtm_type: 7,
  rtm_flags: 8,
} as const; // linux/rtnetlink.h
export const nhmsg = {
  size: 8,
  nh_family: 0,
  nh_scope: 1,
  nh_protocol: 2,
  nh_flags: 4,
} as const; // linux/nexthop.h
export const nexthop_grp = { size: 8, id: 0 } as const; // linux/nexthop.h
export const rtnexthop = {
  size: 8,
  rtnh_len: 0,
  rtnh_flags: 2,
  rtnh_hops: 3,
  rtnh_ifindex: 4,
} as const; // linux/rtnetlink.h
export const pollfd = { size: 8, fd: 0, events: 4, revents: 6 } as const; // poll.h
export const xfrm_selector = {
  size: 56,
  daddr: 0,
  saddr: 16,
  dport: 32,
  dport_mask: 34,
  sport: 36,
  sport_mask: 38,
  family: 40,
  prefixlen_d: 42,
  prefixlen_s: 43,
  proto: 44,
  ifindex: 48,
  user: 52,
} as const; // linux/xfrm.h
export const xfrm_userpolicy_info = {
  size: 168,
  sel: 0,
  priority: 152,
  index: 156,
  dir: 160,
  action: 161,
} as const; // linux/xfrm.h
export const xfrm_userpolicy_id = { size: 64, sel: 0, index: 56, dir: 60 } as const; // linux/xfrm.h
export const xfrm_id = { size: 24, daddr: 0, spi: 16, proto: 20 } as const; // linux/xfrm.h
export const xfrm_usersa_id = {
  size: 24,
  daddr: 0,
  spi: 16,
  family: 20,
  proto: 22,
} as const; // linux/xfrm.h
export const xfrm_usersa_info = {
  size: 224,
  id: 56,
  saddr: 80,
  family: 212,
  mode: 214,
} as const; // linux/xfrm.h
export const xfrm_algo = { size: 68, alg_name: 0, alg_key_len: 64 } as const; // linux/xfrm.h
export const xfrm_user_tmpl = {
  size: 64,
  id: 0,
  family: 24,
  saddr: 28,
  reqid: 44,
  mode: 48,
  share: 49,
  optional: 50,
} as const; // linux/xfrm.h
export const ifreq = {
  size: 40,
  ifr_name: 0,
  ifr_flags: 16,
  ifr_mtu: 16,
  ifr_newname: 16,
} as const; // linux/if.h
export const iovec = { size: 16, iov_base: 0, iov_len: 8 } as const; // sys/uio.h
export const msghdr = {
  size: 56,
  msg_name: 0,
  msg_namelen: 8,
  msg_iov: 16,
  msg_iovlen: 24,
  msg_control: 32,
  msg_controllen: 40,
  msg_flags: 48,
} as const; // sys/socket.h
export const mmsghdr = { size: 64, msg_hdr: 0, msg_len: 56 } as const; // sys/socket.h
export const cmsghdr = {
  size: 16,
  cmsg_len: 0,
  cmsg_level: 8,
  cmsg_type: 12,
} as const; // sys/socket.h
