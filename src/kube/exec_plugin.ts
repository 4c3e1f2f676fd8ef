/**
 * A program that prints credentials, such as those of cloud providers.
 * https://kubernetes.io/docs/reference/access-authn-authz/authentication/ (credential plugins)
 */

import type { Clock } from "../base/clock.ts";
import { errorMessage, OperatorError } from "../base/operator_error.ts";
import { printableLine, quoted } from "../base/quoting.ts";
import { SerialQueue } from "../base/serial_queue.ts";
import { TlsFiles } from "../base/tls_files.ts";
import { ProcessError } from "../process/process_error.ts";
import { runProgram } from "../process/run_program.ts";
import { checkedToken } from "./bearer_token.ts";
import { KubeError } from "./kube_error.ts";

export interface ExecPluginConfig {
  readonly apiVersion: string;
  /** A path, or a name to be searched for in PATH. */
  readonly command: string;
  readonly args: readonly string[];
  readonly env: Readonly<Record<string, string>>;
  /** How to install the program, for the message if it is missing. */
  readonly installHint: string;
  /** Present if the plugin is given the cluster, with what the kubeconfig says to the plugin. */
  readonly cluster: { readonly config: unknown } | undefined;
}

/** The server as a plugin is given it. */
export interface ExecPluginCluster {
  readonly server: string;
  readonly serverName: string | undefined;
  readonly isInsecure: boolean;
  readonly ca: string | undefined;
  readonly proxyUrl: string | undefined;
}

/** Secret: a token, a client certificate with its key, or both. */
export interface ExecCredential {
  readonly token: string | undefined;
  readonly cert: string | undefined;
  readonly key: string | undefined;
  /** Milliseconds since 1970; infinite if the plugin does not say. */
  readonly expiresMs: number;
}

/** Holds the credential until it expires or is refused; runs one program at a time. */
export class ExecPlugin {
  readonly #config: ExecPluginConfig;
  readonly #clock: Pick<Clock, "wallMs">;
  readonly #queue = new SerialQueue();
  #held: ExecCredential | undefined;

  constructor(config: ExecPluginConfig, clock: Pick<Clock, "wallMs">) {
    this.#config = config;
    this.#clock = clock;
  }

  /** Throws `KubeError` of kind `credentials`, or the reason of `signal`. */
  credential(cluster: ExecPluginCluster, signal: AbortSignal): Promise<ExecCredential> {
    return this.#queue.run(async () => {
      signal.throwIfAborted();
      const held = this.#held;
      if (held !== undefined && this.#clock.wallMs() < held.expiresMs) return held;
      this.#held = undefined;
      return this.#held = await this.#run(cluster, signal);
    });
  }

  /** The server has refused the credential: it is not used again. */
  discard(refused: (held: ExecCredential) => boolean): void {
    if (this.#held !== undefined && refused(this.#held)) this.#held = undefined;
  }

  async #run(cluster: ExecPluginCluster, signal: AbortSignal): Promise<ExecCredential> {
    const { apiVersion, command, args, installHint } = this.#config;
    try {
      const { exitCode, stdout, stderr } = await runProgram(command, args, {
        signal,
        env: this.#environment(cluster),
        timeoutMs: TIMEOUT_MS,
        maxOutputBytes: MAX_OUTPUT_BYTES,
      });
      if (exitCode === 0) return decodeExecCredential(stdout, { apiVersion });
      throw new ExecPluginProblem(`it exited with status ${exitCode}${lastLine(stderr)}`);
    } catch (cause) {
      signal.throwIfAborted();
      const isMissing = cause instanceof ProcessError && cause.fault === "not found";
      const hint = isMissing && installHint !== "" ? `; ${printableLine(installHint, 500)}` : "";
      const reason = `no credentials from the kubeconfig's exec plugin ${quoted(command)}: ` +
        errorMessage(cause) + hint;
      throw new KubeError(reason, { kind: "credentials", cause });
    }
  }

  /** The whole environment, as client-go passes it on: plugins of cloud providers read it. */
  #environment(cluster: ExecPluginCluster): Record<string, string | undefined> {
    return {
      ...process.env,
      ...this.#config.env,
      KUBERNETES_EXEC_INFO: JSON.stringify({
        apiVersion: this.#config.apiVersion,
        kind: "ExecCredential",
        spec: { interactive: false, ...this.#clusterInfo(cluster) },
      }),
    };
  }

  #clusterInfo({ server, serverName, isInsecure, ca, proxyUrl }: ExecPluginCluster) {
    if (this.#config.cluster === undefined) return {};
    const cluster = {
      server,
      "tls-server-name": serverName,
      "insecure-skip-tls-verify": isInsecure || undefined,
      "certificate-authority-data": ca && Buffer.from(ca).toString("base64"),
      "proxy-url": proxyUrl,
      config: this.#config.cluster.config,
    };
    return { cluster };
  }
}

/** A plugin may ask a service on the internet. */
const TIMEOUT_MS = 60_000;
const MAX_OUTPUT_BYTES = 1024 * 1024;

/** What a plugin did wrong. Nothing that it printed on standard output is in the message. */
class ExecPluginProblem extends OperatorError {
  override readonly name = "ExecPluginProblem";
}

function decodeExecCredential(
  stdout: string,
  { apiVersion }: { readonly apiVersion: string },
): ExecCredential {
  const credential = parsedObject(stdout);
  if (credential["kind"] !== "ExecCredential") {
    throw new ExecPluginProblem("its output has no kind ExecCredential");
  }
  if (credential["apiVersion"] !== apiVersion) {
    throw new ExecPluginProblem(
      `its output has the apiVersion ${quoted(credential["apiVersion"])}, ` +
        `the kubeconfig asks for ${apiVersion}`,
    );
  }
  const status = (credential["status"] ?? {}) as Readonly<Record<string, unknown>>;
  const member = (name: string): string | undefined => {
    const value = status[name] ?? "";
    if (typeof value === "string") return value === "" ? undefined : value;
    throw new ExecPluginProblem(`its status.${name} is not a string`);
  };
  const [token, expires] = [member("token"), member("expirationTimestamp")];
  const [cert, key] = [member("clientCertificateData"), member("clientKeyData")];
  if (token === undefined && cert === undefined) {
    throw new ExecPluginProblem("its status has neither a token nor a clientCertificateData");
  }
  return {
    token: token && checkedToken(token, "its token"),
    ...checkedPair(cert, key),
    expiresMs: expires === undefined ? Infinity : expiryOf(expires),
  };
}

function parsedObject(text: string): Readonly<Record<string, unknown>> {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    // Without the parser's message, which may quote a token.
  }
  if (typeof value === "object" && value !== null) return value as Record<string, unknown>;
  throw new ExecPluginProblem("its output is not a JSON object");
}

function checkedPair(
  cert: string | undefined,
  key: string | undefined,
): Pick<ExecCredential, "cert" | "key"> {
  if ((cert === undefined) !== (key === undefined)) {
    throw new ExecPluginProblem("its status has only one of clientCertificateData, clientKeyData");
  }
  if (cert === undefined || key === undefined) return { cert: undefined, key: undefined };
  const texts = {
    cert: { text: cert, name: "its clientCertificateData" },
    key: { text: key, name: "its clientKeyData" },
  };
  new TlsFiles({ texts }, { purpose: "the Kubernetes API" }).current();
  return { cert, key };
}

function expiryOf(text: string): number {
  const ms = Date.parse(text);
  if (Number.isFinite(ms)) return ms;
  throw new ExecPluginProblem(`its expirationTimestamp is ${quoted(text)}, not a time`);
}

/** Plugins report errors on standard error; the last line is mostly the reason. */
function lastLine(stderr: string): string {
  const line = stderr.trim().split("\n").at(-1) ?? "";
  return line === "" ? "" : `: ${printableLine(line, 300)}`;
}
