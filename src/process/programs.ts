/** Where programs are and which Debian package brings them. */

import { accessSync, constants, statSync } from "node:fs";

/**
 * Absolute path of a program: from PATH, then from directories that a service's PATH often lacks;
 * `undefined` if there is none. A name with a slash is a path.
 */
export function findProgram(
  name: string,
  path: string = process.env["PATH"] ?? "",
): string | undefined {
  if (name.includes("/")) return isProgram(name) ? name : undefined;
  const others = [...SYSTEM_DIRECTORIES, ...PRIVATE_DIRECTORIES[name] ?? []];
  for (const directory of [...path.split(":"), ...others]) {
    const candidate = `${directory}/${name}`;
    if (directory.startsWith("/") && isProgram(candidate)) return candidate;
  }
  return undefined;
}

/**
 * The environment of a program that we start: where programs are, and what it may be set up by itself.
 * Nothing else of ours, in which there are passwords; and its messages are not translated.
 */
export function programEnvironment(): Record<string, string> {
  const environment: Record<string, string> = {
    PATH: SYSTEM_DIRECTORIES.join(":"),
    LANG: "C",
    LC_ALL: "C",
  };
  for (const name of PASSED_ON) {
    const value = process.env[name];
    if (value !== undefined) environment[name] = value;
  }
  return environment;
}

const PASSED_ON = [
  ...["PATH", "HOME", "LD_LIBRARY_PATH"],
  // All that change one machine's rules must agree on these (iptables(8)).
  ...["XTABLES_LOCKFILE", "XTABLES_LIBDIR", "IPTABLES_LIB_DIR", "IP6TABLES_LIB_DIR"],
  "MODPROBE_OPTIONS", // modprobe(8)
];

/** The Debian package of a program that we may need. */
export function packageOf(name: string): string | undefined {
  return PACKAGES[name.slice(name.lastIndexOf("/") + 1)];
}

/** WireGuard in user space, over a TUN device; in the order of preference. */
export const WIREGUARD_PROGRAMS: readonly string[] = ["wireguard-go", "boringtun-cli", "boringtun"];

/** strongSwan's IKE daemon. */
export function findCharon(): string | undefined {
  return findProgram("charon");
}

/** Directories of programs that a package does not put where users would start them. */
const PRIVATE_DIRECTORIES: { readonly [program: string]: readonly string[] } = {
  charon: [
    "/usr/lib/strongswan",
    "/usr/lib/ipsec",
    "/usr/libexec/strongswan",
    "/usr/libexec/ipsec",
  ],
};

const SYSTEM_DIRECTORIES = ["/usr/local/sbin", "/usr/sbin", "/sbin", "/usr/bin", "/bin"];

const PACKAGES: { readonly [program: string]: string } = {
  bridge: "iproute2",
  charon: "strongswan-charon",
  conntrack: "conntrack",
  etcd: "etcd-server",
  etcdctl: "etcd-client",
  ip: "iproute2",
  "ip6tables-restore": "iptables",
  "ip6tables-save": "iptables",
  ip6tables: "iptables",
  "iptables-restore": "iptables",
  "iptables-save": "iptables",
  iptables: "iptables",
  modprobe: "kmod",
  nft: "nftables",
  ping: "iputils-ping",
  sh: "dash",
  tcpdump: "tcpdump",
  unshare: "util-linux",
  wg: "wireguard-tools",
  "wireguard-go": "wireguard-go",
};

function isProgram(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return statSync(path).isFile();
  } catch {
    return false;
  }
}
