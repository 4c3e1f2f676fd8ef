/** The API server's URL and the credentials for it, as the port to their sources. */

import type { RereadOutcome } from "../base/reread_files.ts";

export interface KubeAccess {
  /** Scheme, host, port and possibly a path, without a slash at the end. */
  readonly server: string;
  readonly tls: KubeTls;
  /** The value of the header Authorization. Secret. */
  readonly authorization: string | undefined;
  /** An HTTP proxy for this server. It may contain a password. */
  readonly proxyUrl: string | undefined;
}

export interface KubeTls {
  /** In PEM; without it the system's CAs are trusted. */
  readonly ca?: string;
  readonly cert?: string;
  /** Secret. */
  readonly key?: string;
  /** The name that the server's certificate has to have, if not that of the URL. */
  readonly serverName?: string;
  readonly rejectUnauthorized: boolean;
}

/** Re-reads its files when they change. Throws `KubeError` of kind `credentials`. */
export interface KubeCredentials {
  /** The server's URL as last read, for messages. */
  readonly server: string;

  current(signal: AbortSignal): Promise<KubeAccess>;

  /** The server refused this access (401): what is to be used instead, which may be the same. */
  renewed(refused: KubeAccess, signal: AbortSignal): Promise<KubeAccess>;
}

/** Of files that are read again: whether that fails. `what` is the subject, such as `the token`. */
export type RereadOutcomes = (what: string) => RereadOutcome;

/** The server at a URL as it is given, without a slash at the end; `undefined` if it is none. */
export function serverUrl(
  text: string,
  { defaultScheme }: { readonly defaultScheme: "http" | "https" },
): string | undefined {
  const url = URL.parse(text.includes("://") ? text : `${defaultScheme}://${text}`);
  if (url === null || (url.protocol !== "https:" && url.protocol !== "http:")) return undefined;
  if (url.username !== "" || url.password !== "" || url.search !== "" || url.hash !== "") {
    return undefined;
  }
  return `${url.origin}${url.pathname}`.replace(/\/+$/, "");
}
