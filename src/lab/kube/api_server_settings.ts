/** What the API servers of labs and tests have in common. */

export const API_PORT = 6443;
/** Of the cluster's services, which no program of a lab uses. */
export const SERVICE_RANGES = { 4: "10.96.0.0/16", 6: "fd00:10:96::/112" } as const;
/** Of the tokens of service accounts. The API server accepts it as their audience, too. */
export const ISSUER = "https://kubernetes.default.svc.cluster.local";

/** The variables by which every pod finds the API server (KUBERNETES_SERVICE_*). */
export function apiServerVariables(
  url: string,
): { readonly KUBERNETES_SERVICE_HOST: string; readonly KUBERNETES_SERVICE_PORT: string } {
  const { hostname, port } = new URL(url);
  return {
    KUBERNETES_SERVICE_HOST: hostname.replace(/^\[|\]$/g, ""),
    KUBERNETES_SERVICE_PORT: port,
  };
}
