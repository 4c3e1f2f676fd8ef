/** Where a datastore is: its data, the address that it listens on, who can reach that. */

import { DATASTORE_PORT } from "../join/join_token.ts";
import { familyOf, type IpAddress, parseIpAddress } from "../addr/ip.ts";
import { type Prefix, prefixContainsAddress } from "../addr/prefix.ts";

export interface ListenAddress {
  readonly host: IpAddress;
  readonly port: number;
}

/**
 * From where an address can be reached. `loopback`: only this machine. `private`: a private
 * network. `public`: everywhere, also for the unspecified addresses (`0.0.0.0`, `::`).
 */
export type Reach = "loopback" | "private" | "public";

/** The data directory unless another one is given. */
export const DEFAULT_DIRECTORY = "/var/lib/flannel/datastore";

/**
 * `ADDRESS`, `ADDRESS:PORT`, `[IPV6]:PORT` or `:PORT` (all addresses); `undefined` for other text.
 */
export function parseListenAddress(text: string): ListenAddress | undefined {
  const whole = parseIpAddress(text);
  if (whole !== undefined) return { host: whole, port: DATASTORE_PORT };
  const match = /^(?:\[([^\]]*)\]|([^:]*))(?::(\d{1,5}))?$/.exec(text);
  if (match === null) return undefined;
  const [, bracketed, plain = "", digits] = match;
  const name = bracketed ?? (plain === "localhost" ? "127.0.0.1" : plain);
  const host = parseIpAddress(name === "" && bracketed === undefined ? "0.0.0.0" : name);
  const port = digits === undefined ? DATASTORE_PORT : Number(digits);
  if (host === undefined || port > 65_535) return undefined;
  return bracketed !== undefined && familyOf(host) === 4 ? undefined : { host, port };
}

export function reachOf(address: IpAddress): Reach {
  const isIn = (prefixes: readonly string[]) =>
    prefixes.some((prefix) => prefixContainsAddress(prefix as Prefix, address));
  if (isIn(LOOPBACK)) return "loopback";
  return isIn(PRIVATE) ? "private" : "public";
}

const LOOPBACK = ["127.0.0.0/8", "::1/128"];
const PRIVATE = [
  "10.0.0.0/8", // RFC 1918
  "172.16.0.0/12",
  "192.168.0.0/16",
  "100.64.0.0/10", // RFC 6598, behind a carrier's NAT
  "169.254.0.0/16", // RFC 3927, link-local
  "fc00::/7", // RFC 4193, unique local
  "fe80::/10", // RFC 4291, link-local
];
