/** The flags of the daemon, with Go flannel's spelling and defaults. */

import { parseEndpoint } from "../etcd/client/endpoint.ts";
import type { IpAddress } from "../addr/ip.ts";
import { type JoinTarget, parseJoinTarget } from "../join/join_token.ts";
import { compileInterfacePattern } from "../host/interface_pattern.ts";
import {
  address,
  boolean,
  custom,
  file,
  type FlagTable,
  integer,
  list,
  logFormat,
  repeated,
  text,
  verbosity,
  withEnvironment,
} from "./flag.ts";
import { type FlagReading, readAnyAddress, splitPatterns } from "./flag_values.ts";

const ETCD = "Datastore: etcd";
const JOIN = "Datastore: flanneld datastore";
const KUBERNETES = "Datastore: Kubernetes";
const INTERFACE = "Interface and public address";
const LEASE = "Subnet and lease";
const RULES = "Firewall rules and routes";
const HEALTH = "Health";
const LOG = "Log";

/** In the order of `--help`. The keys are the fields of `DaemonOptions`. */
export const DAEMON_FLAGS = withEnvironment({
  etcdEndpoints: list({
    name: "etcd-endpoints",
    section: ETCD,
    metavar: "URLS",
    help: "Comma-separated URLs of the members of the etcd cluster.",
    default: ["http://127.0.0.1:4001", "http://127.0.0.1:2379"],
    check: checkEndpoint,
  }),
  etcdPrefix: text({
    name: "etcd-prefix",
    section: ETCD,
    metavar: "PREFIX",
    help: "Prefix of the keys in etcd.",
    default: "/coreos.com/network",
  }),
  etcdKeyFile: file({
    name: "etcd-keyfile",
    section: ETCD,
    help: "Private key of the TLS client certificate (PEM). Reloaded when the file changes.",
  }),
  etcdCertFile: file({
    name: "etcd-certfile",
    section: ETCD,
    help: "TLS client certificate (PEM). Reloaded when the file changes.",
  }),
  etcdCaFile: file({
    name: "etcd-cafile",
    section: ETCD,
    help: "CA certificates that etcd's server certificate is verified against (PEM). " +
      "Reloaded when the file changes.",
  }),
  etcdUsername: text({
    name: "etcd-username",
    section: ETCD,
    metavar: "NAME",
    help: "User name for etcd.",
  }),
  etcdPassword: text({
    name: "etcd-password",
    section: ETCD,
    metavar: "PASSWORD",
    help: "Password for etcd. Prefer FLANNELD_ETCD_PASSWORD: command lines are visible to all " +
      "users of the machine.",
    isSecret: true,
  }),

  join: custom<JoinTarget | undefined>({
    name: "join",
    section: JOIN,
    metavar: "TOKEN@HOST[:PORT]",
    help: "Join the datastore at this address, as flanneld datastore token prints it. Needed " +
      "once; takes precedence over the flags of etcd. Prefer FLANNELD_JOIN or --join-file: " +
      "command lines are visible to all users of the machine.",
    default: undefined,
    isSecret: true,
    read: readJoinTarget,
  }),
  joinFile: file({
    name: "join-file",
    section: JOIN,
    help: "File that contains TOKEN@HOST[:PORT] for --join. It may be removed when the node has " +
      "joined.",
  }),
  joinState: file({
    name: "join-state",
    section: JOIN,
    help: "File that keeps what the node has learned when it joined. It is used without --join, " +
      "too, unless --etcd-endpoints is given.",
    default: "/var/lib/flannel/joined.json",
    mayBeEmpty: false,
  }),

  kubeSubnetManager: boolean({
    name: "kube-subnet-mgr",
    section: KUBERNETES,
    help: "Use the pod CIDRs that Kubernetes assigns to the nodes, and publish this node's lease " +
      "as annotations of its Node. The flags of etcd have no effect then.",
  }),
  kubeApiUrl: text({
    name: "kube-api-url",
    section: KUBERNETES,
    metavar: "URL",
    help: "URL of the API server. Not needed in a pod. With --kubeconfig-file, it replaces the " +
      "server's URL of that file.",
    check: checkApiUrl,
  }),
  kubeconfigFile: file({
    name: "kubeconfig-file",
    section: KUBERNETES,
    help: "The kubeconfig file; its current context is used. Not needed in a pod. Reloaded when " +
      "the file changes.",
  }),
  kubeAnnotationPrefix: text({
    name: "kube-annotation-prefix",
    section: KUBERNETES,
    metavar: "PREFIX",
    help: "Prefix of the node annotations: a domain, or a domain, a slash and the start of a " +
      "name. A prefix without a slash gets one appended, another one a hyphen if it ends in " +
      "neither. All nodes need the same one.",
    default: "flannel.alpha.coreos.com",
  }),
  netConfigPath: file({
    name: "net-config-path",
    section: KUBERNETES,
    help: "File with the network configuration. Watched: a change is reported, and applied by a " +
      "restart.",
    default: "/etc/kube-flannel/net-conf.json",
  }),
  setNodeNetworkUnavailable: boolean({
    name: "set-node-network-unavailable",
    section: KUBERNETES,
    help: "Set the node's condition NetworkUnavailable to False once its network works.",
    default: true,
  }),

  interfaces: repeated({
    name: "iface",
    section: INTERFACE,
    metavar: "NAME|ADDRESS",
    completion: "interface",
    help: "Interface for the traffic between hosts, by name or by one of its addresses. " +
      "May be repeated; the first match is used. An empty value is ignored.",
  }),
  interfacePatterns: repeated({
    name: "iface-regex",
    section: INTERFACE,
    metavar: "REGEX",
    help: "Regular expression that is matched against the addresses of each interface, then " +
      "against its name. May be repeated. Tried after every --iface.",
    check: (value) =>
      "problem" in compileInterfacePattern(value) ? "a regular expression" : undefined,
    split: splitPatterns,
  }),
  interfaceCanReach: custom<IpAddress | undefined>({
    name: "iface-can-reach",
    section: INTERFACE,
    metavar: "ADDRESS",
    help: "Use the interface and source address of the kernel's route to this address. " +
      "Tried after --iface and --iface-regex.",
    default: undefined,
    read: readAnyAddress,
  }),
  publicIp: address({
    name: "public-ip",
    section: INTERFACE,
    metavar: "ADDRESS",
    help: "IPv4 address at which other nodes reach this node.",
    family: 4,
  }),
  publicIpv6: address({
    name: "public-ipv6",
    section: INTERFACE,
    metavar: "ADDRESS",
    help: "IPv6 address at which other nodes reach this node.",
    family: 6,
  }),

  subnetFile: file({
    name: "subnet-file",
    section: LEASE,
    help: "File that receives the network, the subnet and the MTU, for the CNI plugin.",
    default: "/run/flannel/subnet.env",
    mayBeEmpty: false,
  }),
  subnetLeaseRenewMarginMinutes: integer({
    name: "subnet-lease-renew-margin",
    section: LEASE,
    metavar: "MINUTES",
    help: "Renew the lease this many minutes before it expires.",
    default: 60,
    min: 1,
    max: 24 * 60 - 1,
    unit: "minutes",
  }),

  ipMasq: boolean({
    name: "ip-masq",
    section: RULES,
    help: "Masquerade traffic that leaves the overlay network.",
  }),
  ipMasqFullyRandomDisable: boolean({
    name: "ip-masq-fully-random-disable",
    section: RULES,
    help: "Masquerade without fully random source ports.",
  }),
  ipBlackholeRoute: boolean({
    name: "ip-blackhole-route",
    section: RULES,
    help: "Keep a blackhole route for the subnet of this node.",
  }),
  iptablesResyncSeconds: integer({
    name: "iptables-resync",
    section: RULES,
    metavar: "SECONDS",
    help: "Check the firewall rules this often, even without change notifications.",
    default: 5,
    min: 1,
    max: 86_400,
    unit: "seconds",
  }),
  iptablesForwardRules: boolean({
    name: "iptables-forward-rules",
    section: RULES,
    help: "Accept forwarded traffic from and to the overlay network.",
    default: true,
  }),

  healthzIp: custom<IpAddress>({
    name: "healthz-ip",
    section: HEALTH,
    metavar: "ADDRESS",
    help:
      "Address that serves /healthz and /readyz; 0.0.0.0 stands for all addresses, also of IPv6.",
    default: "0.0.0.0" as IpAddress,
    defaultText: "0.0.0.0",
    read: readListenAddress,
  }),
  healthzPort: integer({
    name: "healthz-port",
    section: HEALTH,
    metavar: "PORT",
    help: "Port that serves /healthz and /readyz; 0 disables both.",
    default: 0,
    min: 0,
    max: 65_535,
  }),

  verbosity: verbosity({
    section: LOG,
    help:
      "Verbosity of the log: 0 for normal use, 1 to 3 for more detail, 4 and above for debugging.",
    max: 2 ** 31 - 1,
  }),
  logFormat: logFormat(LOG),
  vmodule: text({
    name: "vmodule",
    section: LOG,
    metavar: "PATTERNS",
    help: "Accepted for compatibility with klog; has no effect.",
  }),
  logBacktraceAt: text({
    name: "log_backtrace_at",
    section: LOG,
    metavar: "LOCATION",
    help: "Accepted for compatibility with klog; has no effect.",
  }),
}) satisfies FlagTable;

function readJoinTarget(value: string): FlagReading<JoinTarget | undefined> {
  if (value === "") return { value: undefined };
  const target = parseJoinTarget(value);
  if (!("problem" in target)) return { value: target };
  return {
    allowed: `TOKEN@HOST[:PORT], as flanneld datastore token prints it; ${target.problem}`,
  };
}

/** Go listens on every address if the address is empty. */
function readListenAddress(value: string): FlagReading<IpAddress> {
  const reading = readAnyAddress(value.replace(/^\[(.*)\]$/, "$1"));
  if (!("value" in reading)) return reading;
  return { value: reading.value ?? "0.0.0.0" as IpAddress };
}

/** Go accepts an address without a scheme. */
function checkApiUrl(value: string): string | undefined {
  if (value === "") return undefined;
  const url = URL.parse(value.includes("://") ? value : `http://${value}`);
  if (url === null || !/^https?:$/.test(url.protocol)) return "a URL such as https://10.0.0.1:6443";
  return url.username !== "" || url.password !== ""
    ? "a URL without a user name and password; use --kubeconfig-file"
    : undefined;
}

function checkEndpoint(value: string): string | undefined {
  switch (parseEndpoint(value, { defaultScheme: "http" })) {
    case "not a URL":
      return "URLs such as https://10.0.0.1:2379";
    case "scheme":
      return "URLs that begin with http:// or https://";
    case "user":
      return "URLs without a user name and password; use --etcd-username and --etcd-password";
    default:
      return undefined;
  }
}
