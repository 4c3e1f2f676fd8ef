/**
 * Finds the interface of `--iface`, also in the forms that `ip link` and `ip address` print: `eth0@if5`,
 * `eth0:`, `192.168.1.5/24`, an alternative name, the label `eth0:1` of an address. Pure.
 */

import type { PerFamily } from "../addr/family.ts";
import { familyOf, type IpAddress, nonUnicastKind, parseIpAddress } from "../addr/ip.ts";
import { makePrefix, prefixContainsAddress, splitPrefix } from "../addr/prefix.ts";
import { nearestWord } from "../base/nearest_word.ts";
import { holderOf } from "./external_interface.ts";
import type { HostInterface, HostInterfaces } from "./interface_selection.ts";

/** A device, with the addresses that `--iface` has named explicitly. */
export interface Found {
  readonly device: HostInterface;
  readonly chosen: PerFamily<IpAddress>;
}

export interface Problem {
  readonly problem: string;
}

type Facts = Pick<HostInterfaces, "interfaces">;

export function byNameOrAddress(facts: Facts, text: string): Found | Problem {
  return named(facts, text) ?? labelled(facts, text) ?? byAddress(facts, text) ??
    named(facts, text.replace(/(@.*|:)$/, "")) ?? { problem: `there is ${nothing(facts, text)}` };
}

/** By name or alternative name. */
export function named({ interfaces }: Facts, name: string): Found | undefined {
  const device = interfaces.find((one) => one.name === name) ??
    interfaces.find((one) => one.altNames?.includes(name));
  return device && { device, chosen: {} };
}

/** By the label of an IPv4 address, formerly an interface alias; netdevice(7). */
function labelled({ interfaces }: Facts, text: string): Found | undefined {
  for (const device of interfaces) {
    const found = device.addresses.find(({ label }) => label === text);
    if (found !== undefined) {
      return { device, chosen: { [familyOf(found.address)]: found.address } };
    }
  }
  return undefined;
}

function byAddress(facts: Facts, text: string): Found | Problem | undefined {
  const prefix = splitPrefix(text);
  const [, bare = ""] = /^\[?([^\]%]*)\]?(?:%.*)?$/.exec(text) ?? [];
  const address = prefix?.address ?? parseIpAddress(bare);
  if (address === undefined) return undefined;
  const device = holderOf(facts, address);
  if (device === undefined) {
    return { problem: `no interface has this address${prefix ? inNetwork(facts, prefix) : ""}` };
  }
  const kind = nonUnicastKind(address);
  if (kind !== undefined) return { problem: `it is a ${kind} address` };
  return { device, chosen: { [familyOf(address)]: address } };
}

/** Suggests the interface's own address if the address of its network was given. */
function inNetwork(
  { interfaces }: Facts,
  { address, length }: { address: IpAddress; length: number },
): string {
  const network = makePrefix(address, length);
  for (const { name, addresses } of interfaces) {
    const found = addresses.find((one) => prefixContainsAddress(network, one.address));
    if (found !== undefined) return `; did you mean ${found.address}, which ${name} has?`;
  }
  return "";
}

function nothing({ interfaces }: Facts, text: string): string {
  const names = interfaces.flatMap(({ name, altNames = [] }) => [name, ...altNames]);
  const [device] = text.split(/[:@]/);
  // Names that differ only in the number are different interfaces, not typing errors.
  const isNumbered = /\d/.test(text);
  const others = names.filter((name) =>
    name !== "lo" && !(isNumbered && letters(name) === letters(text))
  );
  const guess = names.find((name) => name === device) ?? nearestWord(text, others);
  const hint = guess === undefined ? "" : `; did you mean ${guess}?`;
  return `no such interface${hint}`;
}

function letters(name: string): string {
  return name.replace(/\d+/g, "");
}
