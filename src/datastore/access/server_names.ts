/** The addresses and names at which clients may connect to this machine. */

import { hostname, networkInterfaces } from "node:os";
import {
  familyOf,
  type IpAddress,
  isLinkLocal,
  isUnspecified,
  nonUnicastKind,
  parseIpAddress,
} from "../../addr/ip.ts";

/**
 * Those in `first`, then the machine's name and the addresses of its interfaces. Without IPv6
 * link-local addresses: they change with each container, and no certificate can name their zone.
 */
export function serverNames(first: readonly string[]): string[] {
  const names = [...first, hostname(), "localhost", ...machineAddresses()];
  const valid = names.filter((name) => parseIpAddress(name) !== undefined || DNS_NAME.test(name));
  return [...new Set(valid.filter((name) => !isUnspecified(name)))].slice(0, MAX_NAMES);
}

/**
 * Addresses of this machine for other machines: not loopback, IPv4 first. VirtualBox gives each
 * machine the same address on its first interface, at which no other machine reaches it.
 */
export function reachableAddresses(): string[] {
  const isReachable = (address: IpAddress) =>
    nonUnicastKind(address) === undefined && !isLinkLocal(address);
  const rank = (address: IpAddress) =>
    address === VIRTUALBOX_NAT ? 2 : familyOf(address) === 6 ? 1 : 0;
  return machineAddresses().filter(isReachable).sort((a, b) => rank(a) - rank(b));
}

const VIRTUALBOX_NAT = "10.0.2.15";

function machineAddresses(): IpAddress[] {
  return Object.values(networkInterfaces())
    .flatMap((addresses = []) => addresses)
    .flatMap(({ address }) => parseIpAddress(address) ?? [])
    .filter((address) => familyOf(address) === 4 || !isLinkLocal(address));
}

/** Each character matches in one way only: otherwise, a long invalid name takes a second. */
const DNS_NAME = /^(?=.{1,253}$)[A-Za-z0-9](?:[\w-]|\.(?=[A-Za-z0-9]))*(?<![_-])$/;
/** Of more, a certificate would not fit in what every client reads. */
const MAX_NAMES = 200;
