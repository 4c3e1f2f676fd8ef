/**
 * Access from inside of a pod, with its service account.
 * https://kubernetes.io/docs/tasks/run-application/access-api-from-pod/
 */

import { isIPv6 } from "node:net";
import { errorMessage } from "../base/operator_error.ts";
import type { RereadFiles } from "../base/reread_files.ts";
import { TlsFiles } from "../base/tls_files.ts";
import { bearer, tokenFile } from "./bearer_token.ts";
import type { KubeAccess, KubeCredentials, RereadOutcomes } from "./kube_access.ts";
import { KubeError } from "./kube_error.ts";

export interface InClusterOptions {
  readonly environment: Readonly<Record<string, string | undefined>>;
  /** With the files `token` and `ca.crt`. */
  readonly directory?: string;
  readonly outcomes?: RereadOutcomes | undefined;
}

export class InClusterCredentials implements KubeCredentials {
  readonly server: string;
  readonly #token: RereadFiles<string>;
  readonly #tls: TlsFiles;

  /** Throws `KubeError` outside of a pod. */
  constructor({ environment, directory = SERVICE_ACCOUNT, outcomes }: InClusterOptions) {
    this.server = inClusterServer(environment);
    const [token, caFile] = [`${directory}/token`, `${directory}/ca.crt`];
    this.#token = tokenFile(token, { outcome: outcomes?.(token) });
    this.#tls = new TlsFiles({ caFile }, {
      purpose: "the Kubernetes API",
      outcome: outcomes?.(caFile),
    });
  }

  /** The kubelet replaces both files when they change. */
  current(): Promise<KubeAccess> {
    try {
      return Promise.resolve({
        server: this.server,
        tls: { ...this.#tls.current(), rejectUnauthorized: true },
        authorization: bearer(this.#token.current()),
        proxyUrl: undefined,
      });
    } catch (cause) {
      const reason = `cannot use the pod's service account: ${errorMessage(cause)}; ` +
        "check automountServiceAccountToken, or give --kubeconfig-file";
      return Promise.reject(new KubeError(reason, { kind: "credentials", cause }));
    }
  }

  renewed(): Promise<KubeAccess> {
    return this.current();
  }
}

const SERVICE_ACCOUNT = "/var/run/secrets/kubernetes.io/serviceaccount";

function inClusterServer(environment: InClusterOptions["environment"]): string {
  const { KUBERNETES_SERVICE_HOST: host = "", KUBERNETES_SERVICE_PORT: port = "" } = environment;
  if (host === "" || port === "") {
    throw new KubeError(
      "cannot find the Kubernetes API: KUBERNETES_SERVICE_HOST and KUBERNETES_SERVICE_PORT are " +
        "not set, as they are in a pod; outside of one, give --kubeconfig-file",
      { kind: "credentials" },
    );
  }
  const url = `https://${isIPv6(host) ? `[${host}]` : host}:${port}`;
  // A URL without the default port is the same one, but messages are clearer with it.
  if (URL.parse(url) !== null && /^\d+$/.test(port)) return url;
  throw new KubeError(
    `cannot find the Kubernetes API: KUBERNETES_SERVICE_HOST=${host} and ` +
      `KUBERNETES_SERVICE_PORT=${port} are not a host and a port`,
    { kind: "credentials" },
  );
}
