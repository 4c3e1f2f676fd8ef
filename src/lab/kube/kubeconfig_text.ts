/** Kubeconfigs for kubectl, Helm and flanneld, with one cluster and one user. */

export interface KubeconfigParts {
  /** Members of the cluster, such as `server` and `certificate-authority`. */
  readonly cluster: object;
  /** Members of the user, such as `token`. */
  readonly user: object;
}

/**
 * As JSON, which is YAML as well.
 * https://kubernetes.io/docs/reference/config-api/kubeconfig.v1/
 */
export function kubeconfigText({ cluster, user }: KubeconfigParts): string {
  const kubeconfig = {
    apiVersion: "v1",
    kind: "Config",
    "current-context": "flannel",
    clusters: [{ name: "flannel", cluster }],
    contexts: [{ name: "flannel", context: { cluster: "flannel", user: "flannel" } }],
    users: [{ name: "flannel", user }],
  };
  return JSON.stringify(kubeconfig, undefined, 2);
}
