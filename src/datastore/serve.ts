/** Runs the datastore until a signal or a failure. */

import { isUnspecified } from "../addr/ip.ts";
import { BACKENDS } from "../backend/backend_registry.ts";
import { parseNetworkConfig } from "../config/network_config.ts";
import { readRegularText } from "../base/regular_file.ts";
import { createNotifier } from "../health/sd_notify.ts";
import type { Log } from "../log/log.ts";
import { whenAborted } from "../base/abort.ts";
import type { Clock } from "../base/clock.ts";
import { errorMessage } from "../base/operator_error.ts";
import { hasTokenFiles, tokenFilesLost } from "./access/datastore_ca.ts";
import type { DatastoreSecret } from "./access/datastore_secret.ts";
import { preparedAccess } from "./access/prepared_access.ts";
import type { TokenAccessOptions } from "./access/token_access.ts";
import { Datastore } from "./datastore.ts";
import { DatastoreError } from "./mvcc/datastore_error.ts";
import { DEFAULT_DIRECTORY, type ListenAddress, reachOf } from "./listen_address.ts";
import { RequestError } from "./mvcc/request_error.ts";
import type { Storage } from "./mvcc/storage.ts";
import type { GrpcServerTls } from "./rpc/grpc_server.ts";

export interface ServeOptions {
  readonly listen: ListenAddress;
  readonly directory: string;
  readonly tls: ServerTlsFileNames | undefined;
  /** `true`: plain and open to every client; `false`: tokens; `undefined`: see `accessMode`. */
  readonly insecure: boolean | undefined;
  /** Addresses and names for nodes, besides the machine's own. */
  readonly advertise: readonly string[];
  /** The CA and the token of a new directory, which then requires tokens. */
  readonly secret?: DatastoreSecret | undefined;
  /** Interval of progress notifications to idle watches that request them. */
  readonly progressNotifyMs: number;
  /** A key to write if it does not exist: the network's configuration. */
  readonly initial: InitialKey | undefined;
}

export type InitialKey =
  | { readonly key: string; readonly value: string }
  /** The value is the content of a file. */
  | { readonly key: string; readonly path: string };

export interface ServerTlsFileNames {
  readonly certFile: string;
  readonly keyFile: string;
  /** Empty if clients need no certificate. */
  readonly clientCaFile: string;
}

/** Resolves after `stop`; throws `DatastoreError` if it cannot start or continue. */
export async function serveDatastore(
  options: ServeOptions,
  { log, clock, stop, terminal }: {
    readonly log: Log;
    readonly clock: Clock;
    readonly stop: AbortSignal;
    /** Prints to the terminal of an operator, who may see secrets; `undefined` without one. */
    readonly terminal?: ((text: string) => void) | undefined;
  },
): Promise<void> {
  const { listen, directory, initial, progressNotifyMs } = options;
  const keyValue = initial && {
    key: initial.key,
    value: "path" in initial ? await readConfig(initial.path, log) : initial.value,
  };
  const notifier = createNotifier({ log, clock });
  const onStop = () => {
    notifier.stopping();
    log.info(`${errorMessage(stop.reason)}; the data stays in ${directory}`);
  };
  stop.addEventListener("abort", onStop, { once: true });
  using _watchdog = notifier.watchdog(() => true);
  await using datastore = await Datastore.start({
    ...listen,
    directory,
    progressNotifyMs,
    tls: options.tls && readTls(options.tls),
    tokens: (data) => {
      if (accessMode(options, data) === "tokens") return tokenAccess(options);
      const warning = exposure(options);
      if (warning !== undefined) log.warn(warning);
      return undefined;
    },
    clock,
    log,
  });
  if (keyValue !== undefined) writeInitial(datastore, keyValue, log);
  const { url, store: { revision } } = datastore;
  const summary = `serving etcd's API at ${url} from ${directory}, revision ${revision}`;
  notifier.ready(summary);
  log.info(`ready; ${summary}`);
  if (datastore.requiresTokens) showHowToJoin(datastore, { directory, log, terminal });
  const failure = await Promise.race([whenAborted(stop), datastore.failed]);
  if (failure instanceof DatastoreError) throw failure;
}

/** Who may use the datastore: every client, those with a certificate, or those with a password. */
type AccessMode = "open" | "certificates" | "tokens";

/**
 * Tokens are required of everything that others can reach, unless a flag says otherwise. Data that
 * was served openly stays open: its nodes have no credentials. Data that required tokens is never
 * served openly, even if nothing else of its directory is left: throws `DatastoreError`.
 */
function accessMode(
  { listen, directory, tls, insecure, secret }: ServeOptions,
  data: Storage,
): AccessMode {
  if (tls !== undefined) return "certificates";
  if (insecure !== undefined) return insecure ? "open" : "tokens";
  if (secret !== undefined) return "tokens";
  if (hasTokenFiles(directory)) return "tokens";
  if (data.requiresTokens) throw tokenFilesLost(directory);
  const isOpen = reachOf(listen.host) === "loopback" || !data.isUnused;
  return isOpen ? "open" : "tokens";
}

function tokenAccess({ advertise, secret }: ServeOptions): TokenAccessOptions {
  return { advertise, prepared: secret && preparedAccess(secret) };
}

/** The token itself is shown on a terminal only: logs are collected, and many may read them. */
function showHowToJoin(
  { joinTarget }: Datastore,
  { directory, log, terminal }: {
    readonly directory: string;
    readonly log: Log;
    readonly terminal: ((text: string) => void) | undefined;
  },
): void {
  const dataDir = directory === DEFAULT_DIRECTORY ? "" : ` --data-dir ${directory}`;
  log.info(`nodes join with the command that "flanneld datastore token${dataDir}" prints`);
  if (joinTarget === undefined || terminal === undefined) return;
  terminal(`\nOn each node, run as root:\n\n  flanneld --join ${joinTarget}\n\n`);
}

/** A warning if others can read and write everything; throws if that needs `--insecure`. */
function exposure({ listen, tls, insecure }: ServeOptions): string | undefined {
  const reach = reachOf(listen.host);
  if (tls?.clientCaFile || reach === "loopback") return undefined;
  if (tls !== undefined) {
    return `anyone who can connect to ${listen.host} can read and change all data; set ` +
      "--client-ca-file to require client certificates";
  }
  if (reach === "public" && !insecure) {
    throw new DatastoreError(
      `${publicText(listen.host)}; without TLS, anyone who can connect could read and change all ` +
        `data, and this directory was served in this way; ${REQUIRE_TOKENS}, or --insecure if a ` +
        "firewall protects the port",
    );
  }
  return `anyone who can connect to ${listen.host} can read and change all data, without ` +
    `encryption; unless the network is trusted, ${REQUIRE_TOKENS}`;
}

const REQUIRE_TOKENS = "set --insecure=false and start each node with --join";

function publicText(host: string): string {
  return isUnspecified(host)
    ? `${host} is every address of this machine`
    : `${host} is a public address`;
}

function readTls({ certFile, keyFile, clientCaFile }: ServerTlsFileNames): GrpcServerTls {
  return {
    cert: readText(certFile, "--cert-file"),
    key: readText(keyFile, "--key-file"),
    ...(clientCaFile !== "" && { clientCa: readText(clientCaFile, "--client-ca-file") }),
  };
}

/** Enough for a bundle of certificates or a configuration. */
const MAX_FILE_BYTES = 16 * 1024 * 1024;

function readText(path: string, flag: string): string {
  try {
    return readRegularText(path, MAX_FILE_BYTES);
  } catch (cause) {
    throw new DatastoreError(`cannot read ${flag}: ${errorMessage(cause)}`, { cause });
  }
}

/** Throws `ConfigError` for a configuration that no daemon could use. */
async function readConfig(path: string, log: Log): Promise<string> {
  const text = readText(path, "--net-config-path").trim();
  const warn = (message: string) => log.warn(message);
  await BACKENDS.checkConfig(parseNetworkConfig(text, { source: path, warn }), log);
  return text;
}

function writeInitial(
  datastore: Datastore,
  { key, value }: { key: string; value: string },
  log: Log,
): void {
  const present = putIfAbsent(datastore, key, value);
  if (present === "damaged") {
    // The store is still served, because the key has to be written again through it.
    return log.error(`${key} is damaged and was not changed; write it again with etcdctl put`);
  }
  // Without the values: a backend's PSK is part of them.
  if (present === undefined) log.info(`wrote the network's configuration to ${key}`);
  else if (present.value !== value) {
    log.info(
      `keeping the configuration in ${key}, which differs from the flags; change it with ` +
        "etcdctl put",
    );
  }
}

function putIfAbsent(
  datastore: Datastore,
  key: string,
  value: string,
): { readonly value: string } | "damaged" | undefined {
  try {
    const present = datastore.putIfAbsent(key, value);
    return present === undefined ? undefined : { value: present };
  } catch (error) {
    if (!(error instanceof RequestError)) throw error;
    if (error.reason === "dataLoss") return "damaged";
    const reason = error.reason === "noSpace" ? "the disk is full" : error.message;
    throw new DatastoreError(`cannot write ${key}: ${reason}`, { cause: error });
  }
}
