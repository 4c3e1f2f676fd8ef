/**
 * Every flag of `flanneld`, once. The type of the parsed options, `--help`, the manual's page of
 * flags, the environment names and the checks all come from this table.
 */

import type { Family, IpAddress } from "../addr/ip.ts";
import { compileInterfacePattern } from "../host/interface_pattern.ts";
import { isLogFormat, LOG_FORMATS, type LogFormat } from "../log/format.ts";
import {
  type FlagReading,
  readAddress,
  readBoolean,
  readInteger,
  splitList,
  splitPatterns,
} from "./flag_values.ts";

export interface Flag<T> {
  /** Without dashes, as Go flannel spells it. */
  readonly name: string;
  readonly section: Section;
  /** One sentence for `--help` and the manual. */
  readonly help: string;
  /** The value's name in `--help`; empty for a boolean. */
  readonly placeholder: string;
  readonly initial: T;
  /** The default as `--help` shows it; empty for none. */
  readonly initialText: string;
  readonly isBoolean: boolean;
  /** Given twice, the values add up; otherwise the last one counts. */
  readonly repeatable: boolean;
  /** Never shown. */
  readonly secret: boolean;
  /** How a value of the environment becomes values of the flag: one, unless it is repeatable. */
  splitEnvironment(text: string): string[];
  read(text: string): FlagReading<T>;
}

export const SECTIONS = {
  etcd: "Datastore: etcd",
  kubernetes: "Datastore: Kubernetes",
  interface: "Interface and public address",
  lease: "Subnet and lease",
  rules: "Traffic rules and routes",
  health: "Health",
  log: "Log",
} as const;
export type Section = keyof typeof SECTIONS;

/** In the order of `--help`. The keys are the names of the parsed options. */
export const FLAGS = {
  etcdEndpoints: list("etcd-endpoints", "etcd", "URLS", {
    help: "URLs of the etcd cluster's members, separated by commas.",
    initial: ["http://127.0.0.1:4001", "http://127.0.0.1:2379"],
    check: checkEndpoint,
  }),
  etcdPrefix: text("etcd-prefix", "etcd", "PREFIX", {
    help: "Prefix of the keys.",
    initial: "/coreos.com/network",
  }),
  etcdKeyFile: text("etcd-keyfile", "etcd", "FILE", {
    help: "Key of the TLS client certificate (PEM). Read again when it changes.",
  }),
  etcdCertFile: text("etcd-certfile", "etcd", "FILE", {
    help: "TLS client certificate (PEM). Read again when it changes.",
  }),
  etcdCaFile: text("etcd-cafile", "etcd", "FILE", {
    help: "Certificates of the authorities that may sign the server's certificate (PEM). " +
      "Read again when it changes.",
  }),
  etcdUsername: text("etcd-username", "etcd", "NAME", { help: "User for etcd's authentication." }),
  etcdPassword: text("etcd-password", "etcd", "PASSWORD", {
    help: "Password for etcd's authentication. Better given as FLANNELD_ETCD_PASSWORD, " +
      "which other users of the machine cannot read.",
    secret: true,
  }),

  kubeSubnetManager: boolean("kube-subnet-mgr", "kubernetes", {
    help: "Take subnets from the Kubernetes API instead of etcd.",
  }),
  kubeApiUrl: text("kube-api-url", "kubernetes", "URL", {
    help: "URL of the API server. Not needed in a pod.",
  }),
  kubeconfigFile: text("kubeconfig-file", "kubernetes", "FILE", {
    help: "kubeconfig. Not needed in a pod.",
  }),
  kubeAnnotationPrefix: text("kube-annotation-prefix", "kubernetes", "PREFIX", {
    help: "Prefix of the node annotations, with at most one slash; without one, " +
      "a slash is appended.",
    initial: "flannel.alpha.coreos.com",
    check: (value) => value.split("/").length > 2 ? "text with at most one slash" : undefined,
  }),
  netConfigPath: text("net-config-path", "kubernetes", "FILE", {
    help: "The network configuration.",
    initial: "/etc/kube-flannel/net-conf.json",
  }),
  setNodeNetworkUnavailable: boolean("set-node-network-unavailable", "kubernetes", {
    help: "Set the node condition NetworkUnavailable to False when ready.",
    initial: true,
  }),

  interfaces: repeated("iface", "interface", "NAME|ADDRESS", {
    help: "Interface that carries the traffic between hosts, by name or by one of its " +
      "addresses. May be repeated: the first that matches is taken. An empty one has no effect.",
  }),
  interfacePatterns: repeated("iface-regex", "interface", "REGEX", {
    help: "Regular expression for the interface's addresses, then for its name. May be " +
      "repeated. Tried after every --iface.",
    check: (value) =>
      "problem" in compileInterfacePattern(value) ? "a regular expression" : undefined,
    split: splitPatterns,
  }),
  interfaceCanReach: {
    ...base("iface-can-reach", "interface", "ADDRESS"),
    help: "The interface and source address that the kernel uses towards this address. " +
      "Tried after --iface and --iface-regex.",
    initial: undefined as IpAddress | undefined,
    read: readAnyAddress,
  },
  publicIp: publicAddress("public-ip", 4),
  publicIpv6: publicAddress("public-ipv6", 6),

  subnetFile: text("subnet-file", "lease", "FILE", {
    help: "Where the subnet, the network and the MTU are written for the CNI plugin.",
    initial: "/run/flannel/subnet.env",
    check: (value) => value === "" ? "the path of a file" : undefined,
  }),
  subnetLeaseRenewMarginMinutes: integer("subnet-lease-renew-margin", "lease", "MINUTES", {
    help: "How long before its end the lease is renewed, in minutes.",
    initial: 60,
    range: { min: 1, max: 24 * 60 - 1, unit: "minutes" },
  }),

  ipMasq: boolean("ip-masq", "rules", {
    help: "Masquerade the traffic that leaves the overlay network.",
  }),
  ipMasqFullyRandomDisable: boolean("ip-masq-fully-random-disable", "rules", {
    help: "Masquerade without fully random ports.",
  }),
  ipBlackholeRoute: boolean("ip-blackhole-route", "rules", {
    help: "Keep a blackhole route for this node's subnet.",
  }),
  iptablesResyncSeconds: integer("iptables-resync", "rules", "SECONDS", {
    help: "Period after which the traffic rules are checked even if nothing was heard of them.",
    initial: 5,
    range: { min: 1, max: 86_400, unit: "seconds" },
  }),
  iptablesForwardRules: boolean("iptables-forward-rules", "rules", {
    help: "Accept forwarded traffic from and to the overlay network.",
    initial: true,
  }),

  healthzIp: {
    ...base("healthz-ip", "health", "ADDRESS"),
    help: "Address that /healthz and /readyz are served on.",
    initial: "0.0.0.0" as IpAddress,
    initialText: "0.0.0.0",
    read: readListenAddress,
  },
  healthzPort: integer("healthz-port", "health", "PORT", {
    help: "Port that /healthz and /readyz are served on; 0 for none.",
    initial: 0,
    range: { min: 0, max: 65_535 },
  }),

  verbosity: integer("v", "log", "N", {
    help: "How much is logged: 0 what an operator needs, 1 to 3 more, 4 to 10 everything.",
    initial: 0,
    range: { min: 0, max: 2 ** 31 - 1 },
  }),
  logFormat: {
    ...base("log-format", "log", "FORMAT"),
    help: "Lines as klog writes them (text), or one JSON object per line (json).",
    initial: "text" as LogFormat,
    initialText: "text",
    read: (value: string): FlagReading<LogFormat> =>
      isLogFormat(value) ? { value } : { allowed: LOG_FORMATS.join(" or ") },
  },
  vmodule: text("vmodule", "log", "PATTERNS", {
    help: "Accepted for compatibility with klog; has no effect.",
  }),
  logBacktraceAt: text("log_backtrace_at", "log", "LOCATION", {
    help: "Accepted for compatibility with klog; has no effect.",
  }),
} as const satisfies Record<string, Flag<unknown>>;

/** Name of the flag's environment variable. */
export function environmentName(flagName: string): string {
  return `FLANNELD_${flagName.toUpperCase().replaceAll("-", "_")}`;
}

function base(name: string, section: Section, placeholder: string): Omit<
  Flag<unknown>,
  "help" | "initial" | "read"
> {
  return {
    name,
    section,
    placeholder,
    initialText: "",
    isBoolean: false,
    repeatable: false,
    secret: false,
    splitEnvironment: (value) => [value],
  };
}

/** Completes "… must be …" when the value is refused. */
type Check = (value: string) => string | undefined;

function text(
  name: string,
  section: Section,
  placeholder: string,
  options: { help: string; initial?: string; check?: Check; secret?: boolean },
): Flag<string> {
  const initial = options.initial ?? "";
  return {
    ...base(name, section, placeholder),
    help: options.help,
    initial,
    initialText: initial,
    secret: options.secret ?? false,
    read(value) {
      const allowed = options.check?.(value);
      return allowed === undefined ? { value } : { allowed };
    },
  };
}

function boolean(
  name: string,
  section: Section,
  options: { help: string; initial?: boolean },
): Flag<boolean> {
  const initial = options.initial ?? false;
  return {
    ...base(name, section, ""),
    help: options.help,
    initial,
    initialText: String(initial),
    isBoolean: true,
    read: readBoolean,
  };
}

function integer(
  name: string,
  section: Section,
  placeholder: string,
  options: { help: string; initial: number; range: { min: number; max: number; unit?: string } },
): Flag<number> {
  return {
    ...base(name, section, placeholder),
    help: options.help,
    initial: options.initial,
    initialText: String(options.initial),
    read: (value) => readInteger(value, options.range),
  };
}

/** One value that is a list; given again, it replaces the former. */
function list(
  name: string,
  section: Section,
  placeholder: string,
  options: { help: string; initial: readonly string[]; check: Check },
): Flag<readonly string[]> {
  return {
    ...base(name, section, placeholder),
    help: options.help,
    initial: options.initial,
    initialText: options.initial.join(","),
    read(value) {
      const items = splitList(value);
      for (const item of items) {
        const allowed = options.check(item);
        if (allowed !== undefined) return { allowed };
      }
      return items.length > 0 ? { value: items } : { allowed: "a list with at least one item" };
    },
  };
}

/** A flag that is given once for each item. */
function repeated(
  name: string,
  section: Section,
  placeholder: string,
  options: { help: string; check?: Check; split?: (text: string) => string[] },
): Flag<readonly string[]> {
  return {
    ...base(name, section, placeholder),
    help: options.help,
    initial: [],
    repeatable: true,
    splitEnvironment: options.split ?? splitList,
    read(value) {
      const allowed = options.check?.(value);
      return allowed === undefined ? { value: value === "" ? [] : [value] } : { allowed };
    },
  };
}

function publicAddress(name: string, family: Family): Flag<IpAddress | undefined> {
  return {
    ...base(name, "interface", "ADDRESS"),
    help: `IPv${family} address under which the other nodes reach this one.`,
    initial: undefined,
    read: (value) => readAddress(value, family),
  };
}

function readAnyAddress(value: string): FlagReading<IpAddress | undefined> {
  const reading = readAddress(value, value.includes(":") ? 6 : 4);
  if ("value" in reading) return reading;
  return { allowed: reading.allowed.replace(/^an IPv[46]/, "an IPv4 or IPv6") };
}

/** Go listens on every address when it is given none. */
function readListenAddress(value: string): FlagReading<IpAddress> {
  const reading = readAnyAddress(value.replace(/^\[(.*)\]$/, "$1"));
  if (!("value" in reading)) return reading;
  return { value: reading.value ?? "0.0.0.0" as IpAddress };
}

function checkEndpoint(value: string): string | undefined {
  const url = value.includes("://") ? value : `http://${value}`;
  if (!URL.canParse(url)) return "URLs such as https://10.0.0.1:2379";
  const { protocol, hostname, username, password } = new URL(url);
  if (username !== "" || password !== "") {
    return "URLs without user and password, which --etcd-username and --etcd-password take";
  }
  const isKnown = protocol === "http:" || protocol === "https:";
  return isKnown && hostname !== "" ? undefined : "URLs that begin with http:// or https://";
}
