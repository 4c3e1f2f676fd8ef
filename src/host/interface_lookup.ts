/**
 * Finds the interface that `--iface` names, also in the forms that `ip link` and `ip address`
 * print: `eth0@if5`, `eth0:`, `192.168.1.5/24`, an alternative name, the label `eth0:1` of an
 * address. Pure.
 */

import type { PerFamily } from "../addr/family.ts";
import { familyOf, type IpAddress, nonUnicastKind, parseIpAddress } from "../addr/ip.ts";
import { makePrefix, prefixContainsAddress, splitPrefix } from "../addr/prefix.ts";
import { nearestWord } from "../base/nearest_word.ts";
import { type HostInterface, interfaceWithAddress } from "./host_interface.ts";

/** An interface, with the addresses that were named explicitly. */
export interface InterfaceMatch {
  readonly device: HostInterface;
  readonly addresses: PerFamily<IpAddress>;
}

export interface NoMatch {
  readonly problem: string;
}

export function findInterface(
  interfaces: readonly HostInterface[],
  text: string,
): InterfaceMatch | NoMatch {
  return interfaceNamed(interfaces, text) ?? interfaceLabelled(interfaces, text) ??
    interfaceAddressed(interfaces, text) ??
    interfaceNamed(interfaces, text.replace(/(@.*|:)$/, "")) ??
    { problem: `no such interface${suggestion(interfaces, text)}` };
}

/** By name or alternative name. */
export function interfaceNamed(
  interfaces: readonly HostInterface[],
  name: string,
): InterfaceMatch | undefined {
  const device = interfaces.find((one) => one.name === name) ??
    interfaces.find((one) => one.altNames?.includes(name));
  return device && { device, addresses: {} };
}

/** By the label of an IPv4 address, once known as an interface alias; netdevice(7). */
function interfaceLabelled(
  interfaces: readonly HostInterface[],
  text: string,
): InterfaceMatch | undefined {
  for (const device of interfaces) {
    const found = device.addresses.find(({ label }) => label === text);
    if (found !== undefined) {
      return { device, addresses: { [familyOf(found.address)]: found.address } };
    }
  }
  return undefined;
}

/** `undefined` if the text is not an address. */
function interfaceAddressed(
  interfaces: readonly HostInterface[],
  text: string,
): InterfaceMatch | NoMatch | undefined {
  const prefix = splitPrefix(text);
  const [, bare = ""] = /^\[?([^\]%]*)\]?(?:%.*)?$/.exec(text) ?? [];
  const address = prefix?.address ?? parseIpAddress(bare);
  if (address === undefined) return undefined;
  const device = interfaceWithAddress(interfaces, address);
  if (device === undefined) {
    const hint = prefix ? suggestionInNetwork(interfaces, prefix) : "";
    return { problem: `no interface has this address${hint}` };
  }
  const kind = nonUnicastKind(address);
  if (kind !== undefined) return { problem: `it is a ${kind} address` };
  return { device, addresses: { [familyOf(address)]: address } };
}

/** Suggests the interface's own address if the address of its network was given. */
function suggestionInNetwork(
  interfaces: readonly HostInterface[],
  { address, length }: { address: IpAddress; length: number },
): string {
  const network = makePrefix(address, length);
  for (const { name, addresses } of interfaces) {
    const found = addresses.find((one) => prefixContainsAddress(network, one.address));
    if (found !== undefined) return `; did you mean ${found.address}, which ${name} has?`;
  }
  return "";
}

function suggestion(interfaces: readonly HostInterface[], text: string): string {
  const names = interfaces.flatMap(({ name, altNames = [] }) => [name, ...altNames]);
  const [device] = text.split(/[:@]/);
  // Names that differ only in the number are different interfaces, not typing errors.
  const isNumbered = /\d/.test(text);
  const others = names.filter((name) =>
    name !== "lo" && !(isNumbered && withoutDigits(name) === withoutDigits(text))
  );
  const guess = names.find((name) => name === device) ?? nearestWord(text, others);
  return guess === undefined ? "" : `; did you mean ${guess}?`;
}

function withoutDigits(name: string): string {
  return name.replace(/\d+/g, "");
}
