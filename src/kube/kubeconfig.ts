/**
 * The kubeconfig: the server, the CAs that its certificate is checked against, and the credentials.
 * https://kubernetes.io/docs/reference/config-api/kubeconfig.v1/
 */

import { dirname, resolve } from "node:path";
import { errorMessage } from "../base/operator_error.ts";
import { printableLine, quoted } from "../base/quoting.ts";
import type { PemText, TlsFileNames, TlsTexts } from "../base/tls_files.ts";
import { checkedToken } from "./bearer_token.ts";
import type { ExecPluginConfig } from "./exec_plugin.ts";
import { decodeExecPlugin } from "./exec_plugin_config.ts";
import { serverUrl } from "./kube_access.ts";
import { KubeError } from "./kube_error.ts";
import { KubeconfigProblem, KubeconfigReader } from "./kubeconfig_reader.ts";

/** What the current context selects. */
export interface Kubeconfig {
  readonly server: string;
  readonly tls: TlsFileNames & { readonly texts: TlsTexts };
  readonly serverName: string | undefined;
  /** Any certificate is accepted. */
  readonly isInsecure: boolean;
  readonly proxyUrl: string | undefined;
  readonly user: KubeconfigUser;
}

export type KubeconfigUser =
  /** No header; perhaps a client certificate. */
  | { readonly kind: "none" }
  | { readonly kind: "token"; readonly token: string }
  | { readonly kind: "token-file"; readonly path: string }
  | { readonly kind: "basic"; readonly username: string; readonly password: string }
  | { readonly kind: "exec"; readonly plugin: ExecPluginConfig };

export interface KubeconfigSource {
  /** Paths in the file are relative to its directory. */
  readonly path: string;
  /** Takes the place of the file's server and its tls-server-name; empty: the file's own. */
  readonly apiUrl: string;
}

/** Reads what `parseYaml` returns. Throws `KubeError` of kind `credentials`. */
export function parseKubeconfig(
  text: string,
  source: KubeconfigSource,
  parseYaml: (text: string) => unknown,
): Kubeconfig {
  try {
    return readKubeconfig(parseYaml(text), source);
  } catch (cause) {
    const reason = cause instanceof KubeconfigProblem
      ? cause.message
      : printableLine(errorMessage(cause).split("\n", 1)[0] ?? "", 200);
    const line = `cannot use the kubeconfig ${source.path}: ${reason}`;
    throw new KubeError(line, { kind: "credentials" });
  }
}

function readKubeconfig(value: unknown, source: KubeconfigSource): Kubeconfig {
  const file = KubeconfigReader.of(value, "the file");
  const contextName = file.text("current-context");
  if (contextName === "") {
    throw new KubeconfigProblem(
      "current-context is not set; choose one with `kubectl config use-context NAME`",
    );
  }
  const context = file.named("contexts", contextName, "context");
  const cluster = file.named("clusters", context.required("cluster"), "cluster");
  // Without a user the calls are anonymous.
  const userName = context.text("user");
  const user = userName === "" ? KubeconfigReader.of({}, "user") : file.named(
    "users",
    userName,
    "user",
  );
  refuseUnsupported(user);
  const directory = dirname(resolve(source.path));
  return {
    ...readServer(cluster, source),
    tls: readTls({ cluster, user, directory }),
    isInsecure: readInsecure(cluster),
    proxyUrl: readProxy(cluster),
    user: readUser(user, { cluster, directory }),
  };
}

function readServer(
  cluster: KubeconfigReader,
  { apiUrl }: KubeconfigSource,
): Pick<Kubeconfig, "server" | "serverName"> {
  if (apiUrl !== "") return { server: requireServer(apiUrl), serverName: undefined };
  const given = cluster.required("server");
  const server = serverUrl(given, { defaultScheme: "https" });
  if (server === undefined) {
    throw cluster.problem("server", `is ${quoted(given)}; write it like https://10.0.0.1:6443`);
  }
  return { server, serverName: cluster.text("tls-server-name") || undefined };
}

/** The server of `--kube-api-url`. */
export function requireServer(apiUrl: string): string {
  const server = serverUrl(apiUrl, { defaultScheme: "http" });
  if (server !== undefined) return server;
  throw new KubeError(
    `--kube-api-url=${printableLine(apiUrl, 200)} is not a URL; write it like ` +
      "https://10.0.0.1:6443",
    { kind: "credentials" },
  );
}

function readTls(
  { cluster, user, directory }: {
    readonly cluster: KubeconfigReader;
    readonly user: KubeconfigReader;
    readonly directory: string;
  },
): Kubeconfig["tls"] {
  const file = (reader: KubeconfigReader, name: string): string | undefined => {
    const path = reader.text(name);
    return path === "" ? undefined : resolve(directory, path);
  };
  const tls = {
    caFile: file(cluster, "certificate-authority"),
    certFile: file(user, "client-certificate"),
    keyFile: file(user, "client-key"),
    texts: {
      ca: readData(cluster, "certificate-authority"),
      cert: readData(user, "client-certificate"),
      key: readData(user, "client-key"),
    },
  };
  const hasCert = tls.certFile !== undefined || tls.texts.cert !== undefined;
  const hasKey = tls.keyFile !== undefined || tls.texts.key !== undefined;
  if (hasCert !== hasKey) {
    const [given, missing] = hasCert
      ? ["client-certificate", "client-key"]
      : ["client-key", "client-certificate"];
    throw user.problem(missing, `is missing, but ${given} is given; a certificate needs its key`);
  }
  return tls;
}

/** `NAME-data`, which excludes `NAME`. */
function readData(reader: KubeconfigReader, name: string): PemText | undefined {
  const field = `${name}-data`;
  const text = reader.base64(field);
  if (text === "") return undefined;
  if (reader.text(name) !== "") {
    throw reader.problem(field, `is given as well as ${name}; leave one of them out`);
  }
  return { text, name: reader.place(field) };
}

function readInsecure(cluster: KubeconfigReader): boolean {
  const isInsecure = cluster.flag("insecure-skip-tls-verify");
  const ca = ["certificate-authority", "certificate-authority-data"];
  if (isInsecure && ca.some((name) => cluster.text(name) !== "")) {
    throw cluster.problem(
      "insecure-skip-tls-verify",
      "is true, but a certificate-authority is given; leave one of them out",
    );
  }
  return isInsecure;
}

function readProxy(cluster: KubeconfigReader): string | undefined {
  const text = cluster.text("proxy-url");
  if (text === "") return undefined;
  const url = URL.parse(text);
  if (url !== null && (url.protocol === "http:" || url.protocol === "https:")) return text;
  const shown = quoted(text.replace(/\/\/[^/]*@/, "//…@"));
  throw cluster.problem("proxy-url", `is ${shown}; write it like http://10.0.0.1:3128`);
}

function readUser(
  user: KubeconfigReader,
  { cluster, directory }: { readonly cluster: KubeconfigReader; readonly directory: string },
): KubeconfigUser {
  const [token, file] = [user.secret("token"), user.text("tokenFile")];
  const [username, password] = [user.text("username"), user.secret("password")];
  const hasBasic = username !== "" || password !== "";
  if (hasBasic && (token !== "" || file !== "")) {
    throw user.problem("username", "is given as well as a token; leave one of them out");
  }
  // As in client-go, a file takes precedence over a token, and both over a plugin.
  if (file !== "") return { kind: "token-file", path: resolve(directory, file) };
  if (token !== "") return { kind: "token", token: checkedToken(token, user.place("token")) };
  if (hasBasic) return { kind: "basic", username, password };
  const exec = user.inner("exec");
  if (exec === undefined) return { kind: "none" };
  return { kind: "exec", plugin: decodeExecPlugin(exec, { cluster, directory }) };
}

/** What would otherwise act with other rights than those that the file asks for. */
function refuseUnsupported(user: KubeconfigReader): void {
  for (const name of ["auth-provider", "as", "as-uid", "as-groups", "as-user-extra"]) {
    if (!user.has(name)) continue;
    const instead = name === "auth-provider" ? "use an exec plugin" : "use an account of its own";
    throw user.problem(name, `is not supported; ${instead}`);
  }
}
