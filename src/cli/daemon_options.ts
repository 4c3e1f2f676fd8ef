/** The options of the daemon: one field for each of its flags. */

import type { PerFamily } from "../addr/family.ts";
import type { GivenAddress } from "../addr/given_address.ts";
import type { EtcdAccess } from "../etcd/client/cluster.ts";
import { DAEMON_FLAGS } from "./daemon_flags.ts";
import type { Flag, OptionsOf } from "./flag.ts";

export type DaemonOptions = OptionsOf<typeof DAEMON_FLAGS>;

/** The addresses of `--public-ip` and `--public-ipv6`. */
export function givenAddresses(
  { publicIp, publicIpv6 }: Pick<DaemonOptions, "publicIp" | "publicIpv6">,
): PerFamily<GivenAddress> {
  return {
    ...(publicIp && { 4: { address: publicIp, source: "--public-ip" } }),
    ...(publicIpv6 && { 6: { address: publicIpv6, source: "--public-ipv6" } }),
  };
}

/** Whether `--etcd-endpoints` is given. */
export function namesEtcd({ etcdEndpoints }: Pick<DaemonOptions, "etcdEndpoints">): boolean {
  return etcdEndpoints.join() !== DAEMON_FLAGS.etcdEndpoints.default.join();
}

/** The etcd that the flags name, and as whom. */
export function etcdOfFlags(
  options: Pick<
    DaemonOptions,
    | "etcdEndpoints"
    | "etcdCaFile"
    | "etcdCertFile"
    | "etcdKeyFile"
    | "etcdUsername"
    | "etcdPassword"
  >,
): EtcdAccess {
  return {
    endpoints: options.etcdEndpoints,
    tls: {
      caFile: options.etcdCaFile,
      certFile: options.etcdCertFile,
      keyFile: options.etcdKeyFile,
    },
    username: options.etcdUsername,
    password: options.etcdPassword,
  };
}

/** The options that differ from their defaults, for the log; a password as `[redacted]`. */
export function describeOptions(options: DaemonOptions): string {
  const given: string[] = [];
  for (const [key, flag] of Object.entries<Flag<unknown>>(DAEMON_FLAGS)) {
    const value = options[key as keyof DaemonOptions];
    if (JSON.stringify(value) === JSON.stringify(flag.default)) continue;
    given.push(`--${flag.name}=${flag.isSecret ? "[redacted]" : String(value)}`);
  }
  return given.length === 0 ? "all flags have their defaults" : given.join(" ");
}
