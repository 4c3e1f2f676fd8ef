/** The client that the flags ask for, in the order of precedence of client-go. */

import type { Clock } from "../base/clock.ts";
import type { Log } from "../log/log.ts";
import { RepeatedFailure } from "../log/repeated_failure.ts";
import { InClusterCredentials } from "./in_cluster.ts";
import type { KubeAccess, KubeCredentials } from "./kube_access.ts";
import { KubeClient } from "./kube_client.ts";
import { requireServer } from "./kubeconfig.ts";
import { KubeconfigCredentials } from "./kubeconfig_credentials.ts";

export interface OpenKubeOptions {
  /** `--kubeconfig-file`; empty: none. */
  readonly kubeconfigFile: string;
  /** `--kube-api-url`, which replaces the kubeconfig's server; empty: none. */
  readonly apiUrl: string;
  /** Where a pod finds the API server. */
  readonly environment: Readonly<Record<string, string | undefined>>;
  /** For the header User-Agent. */
  readonly version: string;
  readonly clock: Clock;
  readonly log: Log;
}

/**
 * Without a kubeconfig and a URL, the pod's service account is used; with a URL alone, calls are
 * anonymous. Connects at the first call. Throws `KubeError` of kind `credentials` for what can
 * never work: a kubeconfig that cannot be used, no kubeconfig outside of a pod.
 */
export async function openKubeClient(options: OpenKubeOptions): Promise<KubeClient> {
  const { clock, log, version } = options;
  const credentials = await openCredentials(options);
  return new KubeClient({ credentials, clock, log, userAgent: `flanneld/${version}` });
}

async function openCredentials(options: OpenKubeOptions): Promise<KubeCredentials> {
  const { kubeconfigFile, apiUrl, environment, clock, log } = options;
  const outcomes = (what: string): RepeatedFailure =>
    new RepeatedFailure({ log, clock, what: `reading ${what} again` });
  if (kubeconfigFile !== "") {
    const parseYaml = await yamlParser();
    return new KubeconfigCredentials({
      path: kubeconfigFile,
      apiUrl,
      parseYaml,
      clock,
      outcomes,
    });
  }
  if (apiUrl !== "") return new AnonymousCredentials(requireServer(apiUrl));
  return new InClusterCredentials({ environment, outcomes });
}

/** Loaded only here: a pod needs no YAML. */
async function yamlParser(): Promise<(text: string) => unknown> {
  const { parse } = await import("yaml");
  return (text) => parse(text, { logLevel: "error" });
}

/** The server is trusted by the system's CAs. */
class AnonymousCredentials implements KubeCredentials {
  readonly server: string;

  constructor(server: string) {
    this.server = server;
  }

  current(): Promise<KubeAccess> {
    return Promise.resolve({
      server: this.server,
      tls: { rejectUnauthorized: true },
      authorization: undefined,
      proxyUrl: undefined,
    });
  }

  renewed(): Promise<KubeAccess> {
    return this.current();
  }
}
