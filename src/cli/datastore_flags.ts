/** From the arguments after `flanneld datastore` to what is to be done. Pure. */

import { posix } from "node:path";
import { familyOf } from "../addr/ip.ts";
import { parsePrefix, type Prefix } from "../addr/prefix.ts";
import { BACKENDS } from "../backend/backend_registry.ts";
import { ConfigError } from "../config/config_error.ts";
import { DEFAULT_BACKEND_TYPE, parseNetworkConfig } from "../config/network_config.ts";
import type { BackendDescriptor } from "../overlay/backend_descriptor.ts";
import { parseListenAddress } from "../datastore/listen_address.ts";
import type { ServeOptions } from "../datastore/serve.ts";
import type { RemoteEtcdOptions } from "../datastore/transfer/remote_etcd.ts";
import { isLogFormat, LOG_FORMATS, type LogFormat } from "../log/format.ts";
import { nearestWord } from "../base/nearest_word.ts";
import { type FlagShape, type GivenFlag, scanFlags, withoutLeadingBlanks } from "./flag_syntax.ts";
import { environmentName } from "./flag_table.ts";
import { readBoolean, readInteger, splitList } from "./flag_values.ts";

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

const SERVE_FLAGS = [
  "listen",
  "data-dir",
  "cert-file",
  "key-file",
  "client-ca-file",
  "insecure",
  "network",
  "backend",
  "net-config-path",
  "etcd-prefix",
  "watch-progress-seconds",
  "log-format",
  "v",
];
/** Those of the daemon, so that what works there works here. */
const REMOTE_FLAGS = remoteFlags("etcd-endpoints", "etcd-");
const TARGET_FLAGS = remoteFlags("to", "to-");

/** The flags that each action takes. */
const ACTIONS: Readonly<Record<string, readonly string[]>> = {
  export: REMOTE_FLAGS,
  import: [...REMOTE_FLAGS, "overwrite"],
  migrate: [...REMOTE_FLAGS, ...TARGET_FLAGS, "overwrite"],
};
const BOOLEANS = new Set(["insecure", "overwrite", "help", "h"]);

/** The environment is asked, as by the daemon, for what is not given of a remote store. */
export function parseDatastoreCommand(
  given: readonly string[],
  environment: Environment = {},
): DatastoreCommand {
  const args = withoutLeadingBlanks(given);
  const [word] = args;
  const hasAction = word !== undefined && !word.startsWith("-");
  if (!hasAction) return parse("serve", SERVE_FLAGS, args, {});
  const flags = ACTIONS[word];
  if (flags !== undefined) return parse(word, flags, args.slice(1), environment);
  const guess = nearestWord(word, Object.keys(ACTIONS), 2);
  const hint = guess === undefined
    ? "there are export, import and migrate"
    : `did you mean ${guess}?`;
  return fault(`unexpected argument "${word}"; ${hint}`);
}

type Environment = Readonly<Record<string, string | undefined>>;

function remoteFlags(endpoints: string, prefix: string): string[] {
  const others = ["cafile", "certfile", "keyfile", "username", "password"];
  return [endpoints, ...others.map((name) => `${prefix}${name}`)];
}

/** A fault in the arguments: the message completes the line. */
class ArgumentFault extends Error {}

function fault(message: string): DatastoreCommand {
  return { kind: "error", message };
}

function parse(
  action: string,
  names: readonly string[],
  args: readonly string[],
  environment: Environment,
): DatastoreCommand {
  const shapes: FlagShape[] = [...names, "help", "h"].map((name) => ({
    name,
    isBoolean: BOOLEANS.has(name),
  }));
  const scan = scanFlags(args, shapes);
  if (scan.kind === "error") return fault(scan.message);
  try {
    const values = new FlagValues(scan.flags, environment);
    if (values.flag("help") || values.flag("h")) return { kind: "help" };
    if (scan.rest[0] !== undefined) return fault(`unexpected argument "${scan.rest[0]}"`);
    return build(action, values);
  } catch (error) {
    if (error instanceof ArgumentFault || error instanceof ConfigError) return fault(error.message);
    throw error;
  }
}

function build(action: string, values: FlagValues): DatastoreCommand {
  const overwrite = values.flag("overwrite");
  const near = () => remote(values, { endpoints: "etcd-endpoints", prefix: "etcd-" });
  switch (action) {
    case "export":
      return { kind: "export", from: near() };
    case "import":
      return { kind: "import", to: near(), overwrite };
    case "migrate":
      return {
        kind: "migrate",
        from: near(),
        to: remote(values, { endpoints: "to", prefix: "to-" }),
        overwrite,
      };
    default:
      return buildServe(values);
  }
}

function buildServe(values: FlagValues): DatastoreCommand {
  const text = values.text("listen", "127.0.0.1:2379");
  const listen = parseListenAddress(text);
  if (listen === undefined) {
    throw new ArgumentFault(
      `--listen is "${text}"; it must be an address with a port, such as 192.168.56.11:2379`,
    );
  }
  const directory = values.text("data-dir", "/var/lib/flannel/datastore");
  if (directory === "") throw new ArgumentFault("--data-dir must name a directory");
  const logFormat = values.text("log-format", "text");
  if (!isLogFormat(logFormat)) {
    throw new ArgumentFault(
      `--log-format is "${logFormat}"; it must be ${LOG_FORMATS.join(" or ")}`,
    );
  }
  return {
    kind: "serve",
    options: {
      listen,
      directory,
      tls: serverTls(values),
      insecure: values.flag("insecure"),
      initial: initialConfig(values),
      progressNotifyMs: 1_000 * values.integer("watch-progress-seconds", WATCH_PROGRESS_SECONDS),
    },
    logFormat,
    verbosity: values.integer("v", { initial: 0, min: 0, max: 10 }),
  };
}

/** etcd's `--watch-progress-notify-interval`, with its default. */
const WATCH_PROGRESS_SECONDS = { initial: 600, min: 1, max: 3_600 };

function serverTls(values: FlagValues): ServeOptions["tls"] {
  const { certFile, keyFile } = certificatePair(values, { cert: "cert-file", key: "key-file" });
  const clientCaFile = values.text("client-ca-file", "");
  if (certFile !== "") return { certFile, keyFile, clientCaFile };
  if (clientCaFile !== "") {
    throw new ArgumentFault("--client-ca-file needs --cert-file and --key-file");
  }
  return undefined;
}

function remote(
  values: FlagValues,
  { endpoints: name, prefix }: { endpoints: string; prefix: string },
): RemoteEtcdOptions {
  const endpoints = splitList(
    name === "to" ? values.text(name, "") : values.textOrVariable(name, "http://127.0.0.1:2379"),
  );
  if (endpoints.length === 0) {
    throw new ArgumentFault(`--${name} must be given, such as --${name} http://10.0.0.5:2379`);
  }
  const names = { cert: `${prefix}certfile`, key: `${prefix}keyfile` };
  return {
    endpoints,
    flagPrefix: `--${prefix}`,
    caFile: values.textOrVariable(`${prefix}cafile`, ""),
    ...certificatePair(values, names),
    username: values.textOrVariable(`${prefix}username`, ""),
    password: values.textOrVariable(`${prefix}password`, ""),
  };
}

function certificatePair(
  values: FlagValues,
  { cert, key }: { cert: string; key: string },
): { certFile: string; keyFile: string } {
  const [certFile, keyFile] = [values.textOrVariable(cert, ""), values.textOrVariable(key, "")];
  if ((certFile === "") !== (keyFile === "")) {
    const [given, missing] = certFile === "" ? [key, cert] : [cert, key];
    throw new ArgumentFault(`--${given} is given without --${missing}`);
  }
  return { certFile, keyFile };
}

/** The network's configuration: a file's, or what `--network` and `--backend` describe. */
function initialConfig(values: FlagValues): ServeOptions["initial"] {
  const [network, backend] = [values.text("network", ""), values.text("backend", "")];
  const path = values.text("net-config-path", "");
  if (network !== "" && path !== "") {
    throw new ArgumentFault("--network and --net-config-path exclude each other");
  }
  if (network === "" && backend !== "") {
    throw new ArgumentFault("--backend is given without --network");
  }
  const key = posix.join(values.text("etcd-prefix", "/coreos.com/network"), "config");
  if (path !== "") return { key, path };
  return network === "" ? undefined : { key, value: describedConfig(network, backend) };
}

function describedConfig(text: string, backend: string): string {
  const networks = splitList(text).map(readNetwork);
  const [v4, v6] = [4, 6].map((family) => networks.filter((one) => familyOf(one) === family));
  if (v4 === undefined || v6 === undefined || v4.length > 1 || v6.length > 1) {
    throw new ArgumentFault(`--network is "${text}"; it may hold one network of each family`);
  }
  const descriptor = findBackend(backend === "" ? DEFAULT_BACKEND_TYPE : backend);
  if (v6[0] !== undefined && !descriptor.families.includes(6)) {
    throw new ArgumentFault(
      `--network has ${v6[0]}, and --backend ${descriptor.type} carries IPv4 only; ` +
        `leave it at one IPv4 network, or use ${BACKENDS.alternativesForIpv6(descriptor)}`,
    );
  }
  const value = JSON.stringify({
    ...(v4[0] === undefined ? { EnableIPv4: false } : { Network: v4[0] }),
    ...(v6[0] !== undefined && { EnableIPv6: true, IPv6Network: v6[0] }),
    Backend: { Type: descriptor.type },
  });
  // What no daemon could use is refused here.
  parseNetworkConfig(value, { source: "--network", warn: () => undefined });
  return value;
}

/** The backend of this type, if it needs no options. */
function findBackend(type: string): BackendDescriptor {
  const descriptor = BACKENDS.find(type);
  if (descriptor === undefined) {
    throw new ArgumentFault(
      `--backend is "${type}"; it must be one of ${BACKENDS.types.join(", ")}`,
    );
  }
  if (descriptor.requiredSecret !== undefined) {
    throw new ArgumentFault(
      `--backend ${descriptor.type} needs a ${descriptor.requiredSecret}, which a command line ` +
        "does not hide: write the configuration to a file and give --net-config-path",
    );
  }
  return descriptor;
}

function readNetwork(text: string): Prefix {
  const prefix = parsePrefix(text);
  if (prefix !== undefined) return prefix;
  throw new ArgumentFault(`--network is "${text}"; it must be a network, such as 10.5.0.0/16`);
}

/** The last value of each flag wins. */
class FlagValues {
  readonly #values: ReadonlyMap<string, string>;
  readonly #environment: Environment;

  constructor(flags: readonly GivenFlag[], environment: Environment) {
    this.#values = new Map(flags.map(({ name, value }) => [name, value]));
    this.#environment = environment;
  }

  text(name: string, initial: string): string {
    return this.#values.get(name) ?? initial;
  }

  /**
   * The flag, or else its environment form, where an empty one counts as unset: a password is not for
   * the command line.
   */
  textOrVariable(name: string, initial: string): string {
    return this.text(name, this.#environment[environmentName(name)] || initial);
  }

  integer(
    name: string,
    { initial, ...range }: { initial: number; min: number; max: number },
  ): number {
    const text = this.text(name, `${initial}`);
    const reading = readInteger(text, range);
    if ("value" in reading) return reading.value;
    throw new ArgumentFault(`--${name} is "${text}"; it must be ${reading.allowed}`);
  }

  flag(name: string): boolean {
    const text = this.text(name, "false");
    const reading = readBoolean(text);
    if ("value" in reading) return reading.value;
    throw new ArgumentFault(`--${name} is "${text}"; it must be true or false`);
  }
}
