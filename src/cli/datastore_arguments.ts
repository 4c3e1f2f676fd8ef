/** `flanneld datastore` and its subcommands: what they are, and how they are read. Pure. */

import { posix } from "node:path";
import { familyOf, parseIpAddress } from "../addr/ip.ts";
import { parsePrefix, type Prefix } from "../addr/prefix.ts";
import { BACKENDS, DEFAULT_BACKEND } from "../backend/backend_registry.ts";
import { ConfigError } from "../config/config_error.ts";
import { parseNetworkConfig } from "../config/network_config.ts";
import type { ServeOptions } from "../datastore/serve.ts";
import type { RemoteEtcdOptions } from "../datastore/transfer/transfer.ts";
import { DATASTORE_PORT, type JoinAddress, parseJoinAddress } from "../join/join_token.ts";
import type { BackendDescriptor } from "../overlay/backend_descriptor.ts";
import type { LogFormat } from "../log/log_format.ts";
import type { AccessAction } from "./access_command.ts";
import { type Argument, argument } from "./argument.ts";
import { type Command, command } from "./command.ts";
import {
  ACCESS_FLAGS,
  OVERWRITE_FLAGS,
  SERVER_FLAGS,
  SOURCE_FLAGS,
  TARGET_FLAGS,
  TOKEN_CREATE_FLAGS,
} from "./datastore_flags.ts";
import { DATASTORE_MANUAL } from "./datastore_manual.ts";
import type { OptionsOf } from "./flag.ts";
import { ArgumentError, checkCertificatePair } from "./flag_reader.ts";
import { splitList } from "./flag_values.ts";

export type DatastoreAction =
  | {
    readonly kind: "serve";
    readonly options: ServeOptions;
    readonly logFormat: LogFormat;
    readonly verbosity: number;
  }
  | { readonly kind: "export"; readonly from: RemoteEtcdOptions }
  | { readonly kind: "import"; readonly to: RemoteEtcdOptions; readonly overwrite: boolean }
  | {
    readonly kind: "migrate";
    readonly from: RemoteEtcdOptions;
    readonly to: RemoteEtcdOptions;
    readonly overwrite: boolean;
  }
  | { readonly kind: "prepare-token"; readonly address: JoinAddress }
  | {
    readonly kind: "access";
    /** Of the datastore that it acts on. */
    readonly directory: string;
    readonly action: AccessAction;
  };

const EXPORT: Command<DatastoreAction> = command({
  name: "export",
  summary: "Write all keys to standard output, with the remaining time of their leases.",
  redirection: "> FILE",
  flags: SOURCE_FLAGS,
  read: (options) => ({ kind: "export", from: source(options) }),
});

const IMPORT: Command<DatastoreAction> = command({
  name: "import",
  summary: "Read keys from standard input, as export writes them, into a store.",
  redirection: "< FILE",
  flags: { ...SOURCE_FLAGS, ...OVERWRITE_FLAGS },
  read: (options) => ({ kind: "import", to: source(options), overwrite: options.overwrite }),
});

const MIGRATE: Command<DatastoreAction> = command({
  name: "migrate",
  summary: "Copy all keys to another store while both are in use.",
  flags: { ...SOURCE_FLAGS, ...TARGET_FLAGS, ...OVERWRITE_FLAGS },
  read: (options) => ({
    kind: "migrate",
    from: source(options),
    to: target(options),
    overwrite: options.overwrite,
  }),
});

const HOST_ARGUMENT: Argument<JoinAddress> = {
  ...argument({ metavar: "HOST[:PORT]", help: "Where nodes will reach the datastore." }),
  read: ([text = ""]) => {
    const address = parseIpAddress(text) === undefined
      ? parseJoinAddress(text)
      : { host: text, port: DATASTORE_PORT };
    return address === undefined
      ? { allowed: "a name or an address, such as 192.168.56.11 or [fd00::1]:2380" }
      : { value: address };
  },
};

const TOKEN: Command<DatastoreAction> = command({
  name: "token",
  summary: "Print the command with which nodes join.",
  description: [
    "A token admits nodes and does nothing else: each node gets a password of its own and needs " +
    "the token never again. Changes take effect at once.",
  ],
  flags: ACCESS_FLAGS,
  commands: [
    command({
      name: "create",
      summary: "Create another token and print the command with which nodes join.",
      flags: TOKEN_CREATE_FLAGS,
      read: ({ directory, ttlSeconds, description }) =>
        access(directory, { kind: "create", ttlSeconds, description }),
    }),
    command({
      name: "prepare",
      summary: "Make a secret for a datastore that does not run yet, and the token of its nodes.",
      description: [
        "Prints two variables. FLANNEL_DATASTORE_SECRET is for the machine of the datastore and " +
        "for no other: anyone who has it can pose as that datastore. FLANNELD_JOIN is for each " +
        "node.",
      ],
      arguments: { address: HOST_ARGUMENT },
      read: (_, { address }) => ({ kind: "prepare-token", address }),
    }),
    command({
      name: "list",
      summary: "List the tokens, without their secrets.",
      flags: ACCESS_FLAGS,
      read: ({ directory }) => access(directory, { kind: "list" }),
    }),
    command({
      name: "rotate",
      summary: "Replace the token that does not expire. Nodes that have joined stay members.",
      flags: ACCESS_FLAGS,
      read: ({ directory }) => access(directory, { kind: "rotate" }),
    }),
    command({
      name: "revoke",
      summary: "Make a token invalid. Nodes that have joined stay members.",
      flags: ACCESS_FLAGS,
      arguments: { id: argument({ metavar: "ID", help: "The ID that list shows." }) },
      read: ({ directory }, { id }) => access(directory, { kind: "revoke", id }),
    }),
  ],
  read: ({ directory }) => access(directory, { kind: "show" }),
});

const USER_NAME_ARGUMENT = { metavar: "NAME", help: "The name of the user." };

const USER: Command<DatastoreAction> = command({
  name: "user",
  summary: "List, add and remove those who may read and write: the nodes, and other clients.",
  commands: [
    command({
      name: "list",
      summary: "List the nodes that have joined, and other users.",
      flags: ACCESS_FLAGS,
      read: ({ directory }) => access(directory, { kind: "list-users" }),
    }),
    command({
      name: "add",
      summary: "Add a user for etcdctl or Go flannel, and print its password.",
      flags: ACCESS_FLAGS,
      arguments: { name: argument(USER_NAME_ARGUMENT) },
      read: ({ directory }, { name }) => access(directory, { kind: "add-user", name }),
    }),
    command({
      name: "remove",
      summary: "Cut off a node or another user at once.",
      flags: ACCESS_FLAGS,
      arguments: { name: argument(USER_NAME_ARGUMENT) },
      read: ({ directory }, { name }) => access(directory, { kind: "remove-user", name }),
    }),
  ],
});

function access(directory: string, action: AccessAction): DatastoreAction {
  return { kind: "access", directory, action };
}

export const DATASTORE: Command<DatastoreAction> = command({
  name: "datastore",
  summary: "Serve the part of etcd's API that flannel uses, for a cluster without etcd.",
  description: [
    "Serves the part of etcd's v3 API that flannel uses, so that a small cluster needs no etcd. " +
    "The data is on one machine: use it for labs, for development, and for clusters that need no " +
    "changes while that machine is down.",
    "Nodes join with the command that flanneld datastore token prints. export, import and " +
    "migrate work with any etcd.",
  ],
  commands: [TOKEN, USER, EXPORT, IMPORT, MIGRATE],
  flags: SERVER_FLAGS,
  manual: DATASTORE_MANUAL,
  read: readServer,
});

function readServer(options: ServerOptions): DatastoreAction {
  return {
    kind: "serve",
    options: {
      listen: options.listen,
      directory: options.directory,
      tls: serverTls(options),
      insecure: options.insecure,
      advertise: options.advertise,
      secret: secretOf(options),
      initial: initialConfig(options),
      progressNotifyMs: 1_000 * options.watchProgressSeconds,
    },
    logFormat: options.logFormat,
    verbosity: options.verbosity,
  };
}

type ServerOptions = OptionsOf<typeof SERVER_FLAGS>;

function serverTls({ certFile, keyFile, clientCaFile }: ServerOptions): ServeOptions["tls"] {
  checkCertificatePair({ certFile, keyFile }, { cert: "--cert-file", key: "--key-file" });
  if (certFile !== "") return { certFile, keyFile, clientCaFile };
  if (clientCaFile !== "") {
    throw new ArgumentError("--client-ca-file needs --cert-file and --key-file");
  }
  return undefined;
}

/** Only tokens need it: with other access, it would be ignored. */
function secretOf({ secret, insecure, certFile }: ServerOptions): ServeOptions["secret"] {
  const other = certFile !== "" ? "--cert-file" : insecure === true ? "--insecure" : undefined;
  if (secret !== undefined && other !== undefined) {
    throw new ArgumentError(
      `--secret (or FLANNEL_DATASTORE_SECRET) and ${other} exclude each other; omit one`,
    );
  }
  return secret;
}

type TargetOptions = OptionsOf<typeof TARGET_FLAGS>;

function source(options: OptionsOf<typeof SOURCE_FLAGS>): RemoteEtcdOptions {
  const { endpoints, caFile, certFile, keyFile, username, password } = options;
  checkCertificatePair(options, { cert: "--etcd-certfile", key: "--etcd-keyfile" });
  return { endpoints, caFile, certFile, keyFile, username, password, flagPrefix: "--etcd-" };
}

function target(
  { toEndpoints, toCaFile, toCertFile, toKeyFile, toUsername, toPassword }: TargetOptions,
): RemoteEtcdOptions {
  const files = { certFile: toCertFile, keyFile: toKeyFile };
  checkCertificatePair(files, { cert: "--to-certfile", key: "--to-keyfile" });
  return {
    ...files,
    endpoints: toEndpoints,
    caFile: toCaFile,
    username: toUsername,
    password: toPassword,
    flagPrefix: "--to-",
  };
}

/** The configuration to write: that of a file, or one made of `--network` and `--backend`. */
function initialConfig(
  { network, backend, netConfigPath: path, etcdPrefix }: ServerOptions,
): ServeOptions["initial"] {
  if (network !== "" && path !== "") {
    throw new ArgumentError("--network and --net-config-path exclude each other; omit one");
  }
  if (network === "" && backend !== undefined) {
    throw new ArgumentError("--backend is given without --network");
  }
  const key = posix.join(etcdPrefix, "config");
  if (path !== "") return { key, path };
  return network === ""
    ? undefined
    : { key, value: configText(network, backend ?? DEFAULT_BACKEND) };
}

function configText(network: string, backend: BackendDescriptor): string {
  const networks = splitList(network).map(parseNetwork);
  const [v4, v6] = [4, 6].map((family) => networks.filter((one) => familyOf(one) === family));
  if (v4 === undefined || v6 === undefined || v4.length > 1 || v6.length > 1) {
    throw new ArgumentError(`--network is "${network}"; it may contain one network of each family`);
  }
  const { type, families, requiredSecret } = backend;
  if (requiredSecret !== undefined) {
    throw new ArgumentError(
      `--backend ${type} needs a ${requiredSecret}, which would be visible on the command line; ` +
        "write the configuration to a file and use --net-config-path",
    );
  }
  if (v6[0] !== undefined && !families.includes(6)) {
    throw new ArgumentError(
      `--network has ${v6[0]}, but --backend ${type} supports IPv4 only; ` +
        `use one IPv4 network, or use ${BACKENDS.alternativesForIpv6(backend)}`,
    );
  }
  const value = JSON.stringify({
    ...(v4[0] === undefined ? { EnableIPv4: false } : { Network: v4[0] }),
    ...(v6[0] !== undefined && { EnableIPv6: true, IPv6Network: v6[0] }),
    Backend: { Type: type },
  });
  checkConfig(value);
  return value;
}

/** Refuses a configuration that no daemon could use. */
function checkConfig(value: string): void {
  try {
    parseNetworkConfig(value, { source: "--network", warn: () => undefined });
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    throw new ArgumentError(error.message, { cause: error });
  }
}

function parseNetwork(text: string): Prefix {
  const prefix = parsePrefix(text);
  if (prefix !== undefined) return prefix;
  throw new ArgumentError(`--network is "${text}"; it must be a network, such as 10.5.0.0/16`);
}
