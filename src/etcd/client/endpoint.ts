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

/** How an endpoint without a scheme, such as `10.0.0.5:2379`, is read. */
export interface EndpointOptions {
  readonly defaultScheme: "http" | "https";
}

/** Why a text is not an endpoint. */
export type EndpointProblem = "not a URL" | "scheme" | "user";

/**
 * The endpoints, each once, in the given order. Without a scheme they are https if there are TLS
 * files, otherwise http, as in etcd's own client. Throws `ConfigError`; an endpoint's user and
 * password never appear in its text.
 */
export function parseEndpoints(
  texts: readonly string[],
  options: EndpointOptions,
): EtcdEndpoint[] {
  const endpoints = new Map<string, EtcdEndpoint>();
  for (const text of texts) {
    const endpoint = parseEndpoint(text, options);
    if (typeof endpoint === "string") throw new ConfigError(problemText(text.trim(), endpoint));
    endpoints.set(endpoint.url, endpoint);
  }
  if (endpoints.size === 0) {
    throw new ConfigError(
      "no etcd endpoint given: set --etcd-endpoints, e.g. http://10.0.0.5:2379",
    );
  }
  return [...endpoints.values()];
}

/** Reads one endpoint; otherwise what is wrong with it. */
export function parseEndpoint(
  given: string,
  { defaultScheme }: EndpointOptions,
): EtcdEndpoint | EndpointProblem {
  const text = given.trim();
  const url = URL.parse(text.includes("://") ? text : `${defaultScheme}://${text}`);
  if (url === null) return "not a URL";
  if (url.protocol !== "http:" && url.protocol !== "https:") return "scheme";
  if (url.username !== "" || url.password !== "") return "user";
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

function problemText(text: string, problem: EndpointProblem): string {
  const shown = text.replace(/\/\/[^/]*@/, "//…@").replace(/^[^/]*@/, "…@");
  switch (problem) {
    case "not a URL":
      return `etcd endpoint "${shown}" is not a URL: write it like http://10.0.0.5:2379`;
    case "scheme":
      return `etcd endpoint "${shown}" has the scheme ${shown.split(":")[0]}: use http or https`;
    case "user":
      return `etcd endpoint "${shown}" contains a user: set --etcd-username and --etcd-password ` +
        "instead";
  }
}
