/** The addresses of etcd members, as `--etcd-endpoints` gives them. */

import { ConfigError } from "../../config/config_error.ts";

export interface EtcdEndpoint {
  /** Scheme, host and port, such as `https://10.0.0.5:2379`; without credentials and path. */
  readonly url: string;
  readonly secure: boolean;
  /** Host name or address, an IPv6 address without brackets. */
  readonly host: string;
  readonly port: number;
  /** If false, `port` is the default of the scheme, which is not etcd's. */
  readonly hasPort: boolean;
}

/**
 * Reads the endpoints, each once, in the given order. An endpoint without a scheme, such as
 * `10.0.0.5:2379`, is taken as https when there are TLS files, else as http, as etcd's own client
 * does. Throws `ConfigError`; an endpoint's user and password never appear in its text.
 */
export function parseEndpoints(texts: readonly string[], hasTlsFiles: boolean): EtcdEndpoint[] {
  const endpoints = new Map<string, EtcdEndpoint>();
  for (const text of texts) {
    const endpoint = parseEndpoint(text.trim(), hasTlsFiles);
    endpoints.set(endpoint.url, endpoint);
  }
  if (endpoints.size === 0) {
    throw new ConfigError(
      "no etcd endpoint given: set --etcd-endpoints, e.g. http://10.0.0.5:2379",
    );
  }
  return [...endpoints.values()];
}

function parseEndpoint(text: string, hasTlsFiles: boolean): EtcdEndpoint {
  const scheme = hasTlsFiles ? "https" : "http";
  const url = URL.parse(text.includes("://") ? text : `${scheme}://${text}`);
  const shown = text.replace(/\/\/[^/]*@/, "//…@").replace(/^[^/]*@/, "…@");
  if (url === null) {
    throw new ConfigError(
      `etcd endpoint "${shown}" is not a URL: write it like http://10.0.0.5:2379`,
    );
  }
  if (url.protocol !== "http:" && url.protocol !== "https:") {
    throw new ConfigError(
      `etcd endpoint "${shown}" has the scheme ${url.protocol.slice(0, -1)}: use http or https`,
    );
  }
  if (url.username !== "" || url.password !== "") {
    throw new ConfigError(
      `etcd endpoint "${shown}" carries a user: set --etcd-username and --etcd-password instead`,
    );
  }
  const secure = url.protocol === "https:";
  const [authority = ""] = text.replace(/^[^/]*:\/\//, "").split(/[/?#]/, 1);
  return {
    url: url.origin,
    secure,
    host: url.hostname.replace(/^\[(.*)\]$/, "$1"),
    port: Number(url.port) || (secure ? 443 : 80),
    hasPort: /:\d+$/.test(authority),
  };
}
