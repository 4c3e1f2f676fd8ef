/** The flags of `flanneld datastore` and of its subcommands. */

import { type IpAddress, parseIpAddress } from "../addr/ip.ts";
import { BACKENDS, DEFAULT_BACKEND } from "../backend/backend_registry.ts";
import {
  type DatastoreSecret,
  parseDatastoreSecret,
} from "../datastore/access/datastore_secret.ts";
import {
  DEFAULT_DIRECTORY,
  type ListenAddress,
  parseListenAddress,
} from "../datastore/listen_address.ts";
import type { BackendDescriptor } from "../overlay/backend_descriptor.ts";
import { readBackend } from "./backend_flag.ts";
import {
  boolean,
  custom,
  directory,
  file,
  type Flag,
  type FlagTable,
  integer,
  list,
  logFormat,
  text,
  verbosity,
  withEnvironment,
} from "./flag.ts";
import type { FlagReading } from "./flag_values.ts";

const SERVER = "flanneld datastore";
const ACCESS = "flanneld datastore token and user";
const TRANSFER = "flanneld datastore export, import and migrate";

/** Most have no environment variable: those of the daemon have the same names. */
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
  directory: directory({
    name: "data-dir",
    section: SERVER,
    help: "Directory of the data, on a local disk.",
    default: DEFAULT_DIRECTORY,
    mayBeEmpty: false,
  }),
  certFile: file({
    name: "cert-file",
    section: SERVER,
    help: "Serve TLS with this certificate (PEM).",
  }),
  keyFile: file({
    name: "key-file",
    section: SERVER,
    help: "Private key of the certificate (PEM).",
  }),
  clientCaFile: file({
    name: "client-ca-file",
    section: SERVER,
    help: "Require client certificates that are signed by one of these CAs (PEM).",
  }),
  insecure: insecure(),
  advertise: list({
    name: "advertise",
    section: SERVER,
    metavar: "HOSTS",
    help: "Comma-separated names and addresses at which nodes reach this datastore, for --join " +
      "and for its certificate, which names the addresses of this machine in any case.",
    default: [],
    check: (value) => isHost(value) ? undefined : "names and addresses without a port",
  }),
  secret: secret(),
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
    completion: BACKENDS.types,
    help: "Backend in that configuration.",
    default: undefined,
    defaultText: DEFAULT_BACKEND.type,
    read: (value) => value === "" ? { value: undefined } : readBackend(value),
  }),
  netConfigPath: file({
    name: "net-config-path",
    section: SERVER,
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
  verbosity: verbosity({
    section: SERVER,
    help: "Verbosity of the log; 4 and above log each call.",
    max: 10,
  }),
} as const satisfies FlagTable;

/** The datastore that token and user act on. */
export const ACCESS_FLAGS = {
  directory: directory({
    name: "data-dir",
    section: ACCESS,
    help: "Directory of the running datastore.",
    default: DEFAULT_DIRECTORY,
    mayBeEmpty: false,
  }),
} as const satisfies FlagTable;

export const TOKEN_CREATE_FLAGS = {
  ...ACCESS_FLAGS,
  ttlSeconds: custom<number>({
    name: "ttl",
    section: ACCESS,
    metavar: "DURATION",
    help: "How long the token admits nodes, such as 30m, 1h or 7d; 0: until it is revoked.",
    default: 86_400,
    defaultText: "24h",
    read: readDuration,
  }),
  description: text({
    name: "description",
    section: ACCESS,
    metavar: "TEXT",
    help: "What the token is for, shown by token list.",
  }),
} as const satisfies FlagTable;

const SOURCE = connectionFlags({ prefix: "etcd-", store: "this store" });
const TARGET = connectionFlags({ prefix: "to-", store: "the store at --to" });

/** The store to read, or for import to write: the flags and variables of the daemon. */
export const SOURCE_FLAGS = withEnvironment({
  endpoints: list({
    name: "etcd-endpoints",
    section: TRANSFER,
    metavar: "URLS",
    help: "Comma-separated URLs of the datastore or etcd to read from; import writes to it.",
    default: ["http://127.0.0.1:2379"],
  }),
  ...SOURCE,
});

/** The store that migrate writes. No variable names it: a migration has to name its target. */
export const TARGET_FLAGS = {
  toEndpoints: list({
    name: "to",
    section: TRANSFER,
    metavar: "URLS",
    help: "Comma-separated URLs of the etcd that migrate writes to.",
    default: [],
    isRequired: true,
  }),
  ...withEnvironment({
    toCaFile: TARGET.caFile,
    toCertFile: TARGET.certFile,
    toKeyFile: TARGET.keyFile,
    toUsername: TARGET.username,
    toPassword: TARGET.password,
  }),
};

export const OVERWRITE_FLAGS = {
  overwrite: boolean({
    name: "overwrite",
    section: TRANSFER,
    help: "Replace keys that have other values. migrate needs it only for keys that were " +
      "changed in both stores.",
  }),
};

function connectionFlags({ prefix, store }: { readonly prefix: string; readonly store: string }) {
  const section = TRANSFER;
  return {
    caFile: file({
      name: `${prefix}cafile`,
      section,
      help: `CA certificates for ${store} (PEM).`,
    }),
    certFile: file({
      name: `${prefix}certfile`,
      section,
      help: `TLS client certificate for ${store} (PEM).`,
    }),
    keyFile: file({
      name: `${prefix}keyfile`,
      section,
      help: "Private key of that certificate (PEM).",
    }),
    username: text({
      name: `${prefix}username`,
      section,
      metavar: "NAME",
      help: `User name for ${store}.`,
    }),
    password: text({
      name: `${prefix}password`,
      section,
      metavar: "PASSWORD",
      help: `Password for ${store}. Prefer the environment variable.`,
      isSecret: true,
    }),
  };
}

/** Without a value, the address and the directory decide. */
function insecure(): Flag<boolean | undefined> {
  const flag = boolean({
    name: "insecure",
    section: SERVER,
    help: "Serve without TLS and passwords: every client that can connect can read and change " +
      "everything. With =false, require tokens. Without this flag, tokens are required unless " +
      "the address is a loopback address or the directory was served without them before.",
  });
  return { ...flag, default: undefined, defaultText: "" };
}

/** On a command line, all users of the machine could see it. */
function secret(): Flag<DatastoreSecret | undefined> {
  const flag = custom<DatastoreSecret | undefined>({
    name: "secret",
    section: SERVER,
    metavar: "SECRET",
    help: "At the first start, use the CA and the token of this secret, which flanneld datastore " +
      "token prepare has made, so that nodes can have the token in advance. Prefer the variable: " +
      "command lines are visible to all users of the machine.",
    default: undefined,
    isSecret: true,
    read: readSecret,
  });
  return { ...flag, environment: "FLANNEL_DATASTORE_SECRET" };
}

function readSecret(value: string): FlagReading<DatastoreSecret | undefined> {
  if (value === "") return { value: undefined };
  const read = parseDatastoreSecret(value);
  if (!("problem" in read)) return { value: read };
  return { allowed: `as flanneld datastore token prepare prints it; ${read.problem}` };
}

function isHost(value: string): boolean {
  return parseIpAddress(value) !== undefined ||
    /^(?=.{1,253}$)[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?$/.test(value);
}

const MAX_TTL_SECONDS = 10 * 365 * 86_400;
const UNIT_SECONDS: Readonly<Record<string, number>> = { s: 1, m: 60, h: 3_600, d: 86_400 };

function readDuration(value: string): FlagReading<number> {
  const [, digits = "", unit = "s"] = /^(\d{1,9})([smhd])$|^0$/.exec(value) ?? [];
  const seconds = value === "0" ? 0 : Number(digits) * (UNIT_SECONDS[unit] ?? 0);
  const isValid = value === "0" || (digits !== "" && seconds > 0 && seconds <= MAX_TTL_SECONDS);
  return isValid ? { value: seconds } : { allowed: "a duration such as 30m, 1h or 7d, or 0" };
}

function readListenAddress(value: string): FlagReading<ListenAddress> {
  const address = parseListenAddress(value);
  return address === undefined
    ? { allowed: "an address with a port, such as 192.168.56.11:2379" }
    : { value: address };
}
