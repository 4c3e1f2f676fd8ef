/** The members of an etcd cluster, ready for calls. */

import { certificatePairProblem } from "../../base/certificate_pair.ts";
import type { Clock } from "../../base/clock.ts";
import { ConfigError } from "../../config/config_error.ts";
import { Calls, type CallTiming, defaultCallTiming } from "./calls.ts";
import { parseEndpoints } from "./endpoint.ts";
import { EtcdConnection } from "./etcd_connection.ts";
import type { HostNetwork } from "./host_network.ts";
import { defaultConnectionTiming } from "./http2_session.ts";
import type { ConnectionTiming } from "./monitored_session.ts";
import { type TlsFileNames, TlsFiles, type TlsTexts } from "../../base/tls_files.ts";

export interface ClusterOptions {
  /** URLs of the members, such as `https://10.0.0.5:2379`. */
  readonly endpoints: readonly string[];
  readonly tls?: TlsFileNames & { readonly texts?: TlsTexts };
  /** Empty or absent: no authentication. */
  readonly username?: string | undefined;
  readonly password?: string | undefined;
  /** For `Calls.networkChanged`. */
  readonly host?: HostNetwork | undefined;
  readonly timing?: Partial<CallTiming & ConnectionTiming> | undefined;
}

/** Which etcd or datastore to use, and as whom. */
export type EtcdAccess = Pick<ClusterOptions, "endpoints" | "tls" | "username" | "password">;

export interface Cluster {
  /** URLs of the members, without credentials. */
  readonly urls: readonly string[];
  readonly calls: Calls;
}

/** Connects at the first call. Throws `ConfigError` for options that cannot work. */
export function openCluster(options: ClusterOptions, clock: Clock): Cluster {
  const { tls = {}, username = "", password = "", host, timing } = options;
  checkTls(tls);
  const defaultScheme = Object.values(tls).some(Boolean) ? "https" : "http";
  const endpoints = parseEndpoints(options.endpoints, { defaultScheme });
  const { pingIntervalMs, pingTimeoutMs } = { ...defaultConnectionTiming, ...timing };
  const { attemptMs, retryForMs } = { ...defaultCallTiming, ...timing };
  const connection = {
    tlsFiles: new TlsFiles(tls, { purpose: "etcd" }),
    timing: { pingIntervalMs, pingTimeoutMs },
    clock,
    host,
  };
  const calls = new Calls({
    connections: endpoints.map((endpoint) => new EtcdConnection(endpoint, connection)),
    credentials: username === "" ? undefined : { username, password },
    clock,
    timing: { attemptMs, retryForMs },
  });
  return { urls: endpoints.map(({ url }) => url), calls };
}

function checkTls({ certFile = "", keyFile = "" }: TlsFileNames): void {
  const flags = { cert: "--etcd-certfile", key: "--etcd-keyfile" };
  const problem = certificatePairProblem({ certFile, keyFile }, flags);
  if (problem !== undefined) throw new ConfigError(problem);
}
