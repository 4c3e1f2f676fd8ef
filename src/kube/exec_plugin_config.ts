/** The member `exec` of a kubeconfig's user: a program that prints credentials. */

import { resolve } from "node:path";
import { quoted } from "../base/quoting.ts";
import type { ExecPluginConfig } from "./exec_plugin.ts";
import { KubeconfigReader } from "./kubeconfig_reader.ts";

export function decodeExecPlugin(
  exec: KubeconfigReader,
  { cluster, directory }: { readonly cluster: KubeconfigReader; readonly directory: string },
): ExecPluginConfig {
  const apiVersion = exec.required("apiVersion");
  if (!VERSIONS.includes(apiVersion)) {
    throw exec.problem("apiVersion", `is ${quoted(apiVersion)}; use ${VERSIONS[0]}`);
  }
  const mode = exec.text("interactiveMode");
  if (mode === "Always") {
    throw exec.problem("interactiveMode", "is Always, but flanneld has no terminal; use Never");
  }
  const command = exec.required("command");
  return {
    apiVersion,
    // A bare name is searched for in PATH.
    command: command.includes("/") ? resolve(directory, command) : command,
    args: exec.list("args").map((one) => {
      if (typeof one === "string") return one;
      throw exec.problem("args", `contains ${quoted(one)}, not a string; write it in quotes`);
    }),
    env: decodeEnvironment(exec),
    installHint: exec.text("installHint"),
    cluster: exec.flag("provideClusterInfo") ? decodeClusterInfo(cluster) : undefined,
  };
}

const VERSIONS: readonly string[] = [
  "client.authentication.k8s.io/v1",
  "client.authentication.k8s.io/v1beta1",
];

function decodeEnvironment(exec: KubeconfigReader): Record<string, string> {
  return Object.fromEntries(
    exec.list("env").map((one) => {
      const variable = KubeconfigReader.of(one, exec.place("env"));
      return [variable.required("name"), variable.secret("value")];
    }),
  );
}

/** The configuration for the plugin that the cluster's entry contains. */
function decodeClusterInfo(cluster: KubeconfigReader): { readonly config: unknown } {
  const extension = cluster.list("extensions")
    .map((one) => KubeconfigReader.of(one, cluster.place("extensions")))
    .find((one) => one.text("name") === "client.authentication.k8s.io/exec");
  return { config: extension?.raw("extension") };
}
