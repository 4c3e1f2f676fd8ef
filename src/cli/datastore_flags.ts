/** The flags of `flanneld datastore` and of its commands export, import and migrate. */

import type { IpAddress } from "../addr/ip.ts";
import { DEFAULT_BACKEND } from "../backend/backend_registry.ts";
import { type ListenAddress, parseListenAddress } from "../datastore/listen_address.ts";
import type { BackendDescriptor } from "../overlay/backend_descriptor.ts";
import { readBackend } from "./backend_flag.ts";
import {
  boolean,
  custom,
  type Flag,
  type FlagTable,
  integer,
  logFormat,
  text,
  withEnvironment,
} from "./flag.ts";
import { type FlagReading, splitList } from "./flag_values.ts";

const SERVER = "flanneld datastore";
const TRANSFER = "flanneld datastore export, import and migrate";

/** Without environment variables: those of the daemon have the same names. */
export const SERVER_FLAGS = {
  listen: custom<ListenAddress>({
    name: "listen",
    section: SERVER,
    metavar: "ADDRESS:PORT",
    help: "Address and port for clients.",
    default: { host: "127.0.0.1" as IpAddress, port: 2379 },
    defaultText: "127.0.0.1:2379",
    read: readListenAddress,
  }),
  directory: text({
    name: "data-dir",
    section: SERVER,
    metavar: "DIRECTORY",
    help: "Directory of the data, on a local disk.",
    default: "/var/lib/flannel/datastore",
    check: (value) => value === "" ? "the path of a directory" : undefined,
  }),
  certFile: text({
    name: "cert-file",
    section: SERVER,
    metavar: "FILE",
    help: "Serve TLS with this certificate (PEM).",
  }),
  keyFile: text({
    name: "key-file",
    section: SERVER,
    metavar: "FILE",
    help: "Private key of the certificate (PEM).",
  }),
  clientCaFile: text({
    name: "client-ca-file",
    section: SERVER,
    metavar: "FILE",
    help: "Require client certificates that are signed by one of these CAs (PEM).",
  }),
  insecure: boolean({
    name: "insecure",
    section: SERVER,
    help: "Allow a public address without TLS.",
  }),
  network: text({
    name: "network",
    section: SERVER,
    metavar: "CIDR",
    help: "Write a configuration with this network, unless there is one already. An IPv4 and an " +
      "IPv6 network are separated by a comma.",
  }),
  backend: custom<BackendDescriptor | undefined>({
    name: "backend",
    section: SERVER,
    metavar: "TYPE",
    help: "Backend in that configuration.",
    default: undefined,
    defaultText: DEFAULT_BACKEND.type,
    read: (value) => value === "" ? { value: undefined } : readBackend(value),
  }),
  netConfigPath: text({
    name: "net-config-path",
    section: SERVER,
    metavar: "FILE",
    help: "Write the configuration in this file, unless there is one already.",
  }),
  etcdPrefix: text({
    name: "etcd-prefix",
    section: SERVER,
    metavar: "PREFIX",
    help: "Prefix of the key of the configuration.",
    default: "/coreos.com/network",
  }),
  watchProgressSeconds: integer({
    name: "watch-progress-seconds",
    section: SERVER,
    metavar: "SECONDS",
    help: "Interval of progress notifications to idle watches, as etcd's " +
      "--watch-progress-notify-interval.",
    default: 600,
    min: 1,
    max: 3_600,
  }),
  logFormat: logFormat(SERVER),
  verbosity: integer({
    name: "v",
    section: SERVER,
    metavar: "N",
    help: "Verbosity of the log; 4 and above log each call.",
    default: 0,
    min: 0,
    max: 10,
  }),
} as const satisfies FlagTable;

/** The store to read, or for import to write: the flags and variables of the daemon. */
export const SOURCE_FLAGS = withEnvironment({
  endpoints: endpoints({
    name: "etcd-endpoints",
    help: "Comma-separated URLs of the datastore or etcd to read from; import writes to it.",
    default: ["http://127.0.0.1:2379"],
  }),
  ...connectionFlags({ prefix: "etcd-", store: "this store" }),
});

/** The store that migrate writes. No variable names it: a migration has to name its target. */
export const TARGET_FLAGS = {
  endpoints: endpoints({
    name: "to",
    help: "Comma-separated URLs of the etcd that migrate writes to.",
    default: [],
  }),
  ...withEnvironment(connectionFlags({ prefix: "to-", store: "the store at --to" })),
};

export const OVERWRITE_FLAGS = {
  overwrite: boolean({
    name: "overwrite",
    section: TRANSFER,
    help: "Replace keys that have other values. migrate needs it only for keys that were " +
      "changed in both stores.",
  }),
};

/** All of them, for `--help` and the manual. */
export const DATASTORE_FLAGS: readonly Flag<unknown>[] = [
  SERVER_FLAGS,
  SOURCE_FLAGS,
  TARGET_FLAGS,
  OVERWRITE_FLAGS,
].flatMap((table) => Object.values<Flag<unknown>>(table));

function endpoints(
  flag: { readonly name: string; readonly help: string; readonly default: readonly string[] },
): Flag<readonly string[]> {
  return custom<readonly string[]>({
    ...flag,
    section: TRANSFER,
    metavar: "URLS",
    defaultText: flag.default.join(","),
    read: (value) => ({ value: splitList(value) }),
  });
}

function connectionFlags({ prefix, store }: { readonly prefix: string; readonly store: string }) {
  const flag = (name: string, metavar: string, help: string) => ({
    name: `${prefix}${name}`,
    section: TRANSFER,
    metavar,
    help,
  });
  return {
    caFile: text(flag("cafile", "FILE", `CA certificates for ${store} (PEM).`)),
    certFile: text(flag("certfile", "FILE", `TLS client certificate for ${store} (PEM).`)),
    keyFile: text(flag("keyfile", "FILE", "Private key of that certificate (PEM).")),
    username: text(flag("username", "NAME", `User name for ${store}.`)),
    password: text({
      ...flag("password", "PASSWORD", `Password for ${store}. Prefer the environment variable.`),
      isSecret: true,
    }),
  };
}

function readListenAddress(value: string): FlagReading<ListenAddress> {
  const address = parseListenAddress(value);
  return address === undefined
    ? { allowed: "an address with a port, such as 192.168.56.11:2379" }
    : { value: address };
}
