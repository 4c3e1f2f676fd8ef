/** Parses the arguments after `flanneld datastore`. Pure. */

import { posix } from "node:path";
import { familyOf } from "../addr/ip.ts";
import { parsePrefix, type Prefix } from "../addr/prefix.ts";
import { BACKENDS, DEFAULT_BACKEND } from "../backend/backend_registry.ts";
import { nearestWord } from "../base/nearest_word.ts";
import { ConfigError } from "../config/config_error.ts";
import { parseNetworkConfig } from "../config/network_config.ts";
import type { ServeOptions } from "../datastore/serve.ts";
import type { RemoteEtcdOptions } from "../datastore/transfer/transfer.ts";
import type { BackendDescriptor } from "../overlay/backend_descriptor.ts";
import type { LogFormat } from "../log/log_format.ts";
import { OVERWRITE_FLAGS, SERVER_FLAGS, SOURCE_FLAGS, TARGET_FLAGS } from "./datastore_flags.ts";
import type { FlagTable, OptionsOf } from "./flag.ts";
import { ArgumentError, checkCertificatePair, type Environment, readFlags } from "./flag_reader.ts";
import { type GivenFlag, scanFlags, withoutLeadingBlanks } from "./flag_syntax.ts";
import { splitList } from "./flag_values.ts";

export type DatastoreCommand =
  | { readonly kind: "help" }
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
  | { readonly kind: "error"; readonly message: string };

interface Command {
  readonly tables: readonly FlagTable[];
  parse(given: readonly GivenFlag[], environment: Environment): DatastoreCommand;
}

const SERVE: Command = { tables: [SERVER_FLAGS], parse: parseServe };

const COMMANDS: Readonly<Record<string, Command>> = {
  export: {
    tables: [SOURCE_FLAGS],
    parse: (given, environment) => ({ kind: "export", from: source(given, environment) }),
  },
  import: {
    tables: [SOURCE_FLAGS, OVERWRITE_FLAGS],
    parse: (given, environment) => ({
      kind: "import",
      to: source(given, environment),
      ...readFlags(OVERWRITE_FLAGS, given, environment),
    }),
  },
  migrate: {
    tables: [SOURCE_FLAGS, TARGET_FLAGS, OVERWRITE_FLAGS],
    parse: (given, environment) => ({
      kind: "migrate",
      from: source(given, environment),
      to: target(given, environment),
      ...readFlags(OVERWRITE_FLAGS, given, environment),
    }),
  },
};

export function parseDatastoreCommand(
  argv: readonly string[],
  environment: Environment = {},
): DatastoreCommand {
  const args = withoutLeadingBlanks(argv);
  const [name] = args;
  if (name === undefined || name.startsWith("-")) return parseCommand(SERVE, args, environment);
  const command = Object.hasOwn(COMMANDS, name) ? COMMANDS[name] : undefined;
  if (command !== undefined) return parseCommand(command, args.slice(1), environment);
  const names = Object.keys(COMMANDS);
  const guess = nearestWord(name, names, 2);
  const hint = guess === undefined
    ? `the commands are ${names.join(", ")}`
    : `did you mean ${guess}?`;
  return fault(`unexpected argument "${name}"; ${hint}`);
}

function parseCommand(
  { tables, parse }: Command,
  args: readonly string[],
  environment: Environment,
): DatastoreCommand {
  const scan = scanFlags(args, {
    command: "flanneld datastore",
    flags: tables.flatMap((table) => Object.values(table)),
    requests: ["help"],
  });
  if (scan.kind === "error") return fault(scan.message);
  if (scan.kind !== "scanned") return { kind: "help" };
  if (scan.rest[0] !== undefined) return fault(`unexpected argument "${scan.rest[0]}"`);
  try {
    return parse(scan.flags, environment);
  } catch (error) {
    if (error instanceof ArgumentError || error instanceof ConfigError) return fault(error.message);
    throw error;
  }
}

function fault(message: string): DatastoreCommand {
  return { kind: "error", message };
}

function parseServe(given: readonly GivenFlag[], environment: Environment): DatastoreCommand {
  const options = readFlags(SERVER_FLAGS, given, environment);
  return {
    kind: "serve",
    options: {
      listen: options.listen,
      directory: options.directory,
      tls: serverTls(options),
      insecure: options.insecure,
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

function source(given: readonly GivenFlag[], environment: Environment): RemoteEtcdOptions {
  const options = readFlags(SOURCE_FLAGS, given, environment);
  return remote(options, { endpoints: "--etcd-endpoints", prefix: "--etcd-" });
}

function target(given: readonly GivenFlag[], environment: Environment): RemoteEtcdOptions {
  const options = readFlags(TARGET_FLAGS, given, environment);
  return remote(options, { endpoints: "--to", prefix: "--to-" });
}

function remote(
  options: Omit<RemoteEtcdOptions, "flagPrefix">,
  { endpoints, prefix }: { readonly endpoints: string; readonly prefix: string },
): RemoteEtcdOptions {
  if (options.endpoints.length === 0) {
    throw new ArgumentError(
      `${endpoints} is missing; name a store: ${endpoints} http://10.0.0.5:2379`,
    );
  }
  checkCertificatePair(options, { cert: `${prefix}certfile`, key: `${prefix}keyfile` });
  return { ...options, flagPrefix: prefix };
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
  // Refuses a configuration that no daemon could use.
  parseNetworkConfig(value, { source: "--network", warn: () => undefined });
  return value;
}

function parseNetwork(text: string): Prefix {
  const prefix = parsePrefix(text);
  if (prefix !== undefined) return prefix;
  throw new ArgumentError(`--network is "${text}"; it must be a network, such as 10.5.0.0/16`);
}
