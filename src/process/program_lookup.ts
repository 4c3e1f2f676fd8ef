/** Where programs are, which Debian packages contain them, and the environment they run in. */

import { accessSync, constants, statSync } from "node:fs";
import { ProcessError } from "./process_error.ts";

/**
 * Absolute path of a program: from PATH, then from directories that the PATH of a service often
 * lacks. `undefined` if there is none. A name with a slash is a path.
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

/** As `findProgram`; throws `ProcessError` with the Debian package to install. */
export function requireProgram(name: string): string {
  const path = findProgram(name);
  if (path !== undefined) return path;
  const debianPackage = packageOf(name);
  const hint = debianPackage === undefined ? "" : ` (Debian package ${debianPackage})`;
  throw new ProcessError(name, "not found", `there is no such program${hint}`);
}

/**
 * The environment of programs that flanneld starts: PATH and the variables that configure these
 * programs. Other variables are not passed on, because some contain passwords. Messages are in
 * English.
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
  // All programs that change the rules of one machine have to agree on these (iptables(8)).
  ...["XTABLES_LOCKFILE", "XTABLES_LIBDIR", "IPTABLES_LIB_DIR", "IP6TABLES_LIB_DIR"],
  "MODPROBE_OPTIONS", // modprobe(8)
];

/** The Debian package of a program that flanneld may need. */
export function packageOf(name: string): string | undefined {
  return PACKAGES[name.slice(name.lastIndexOf("/") + 1)];
}

/** Implementations of WireGuard in user space, in order of preference. */
export const WIREGUARD_PROGRAMS: readonly string[] = ["wireguard-go", "boringtun-cli", "boringtun"];

/** strongSwan's IKE daemon. */
export function findCharon(): string | undefined {
  return findProgram("charon");
}

/** Directories of programs that users do not start themselves. */
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
