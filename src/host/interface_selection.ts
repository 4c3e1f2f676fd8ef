/**
 * Chooses the interface that carries the packets between nodes, and says why. Pure:
 * `readSelectionInput` reads the host.
 *
 * Tried in this order: each `--iface`, each `--iface-regex`, `--iface-can-reach`. Only if none of
 * these is set: the interface that has the given public address, unless it is lo, then that of
 * the default route.
 */

import { OperatorError } from "../base/operator_error.ts";
import { entriesOf, familiesOf, type PerFamily } from "../addr/family.ts";
import { type Family, familyOf, type IpAddress, isLinkLocal } from "../addr/ip.ts";
import type { GivenAddress } from "../addr/given_address.ts";
import { type Prefix, prefixContainsAddress } from "../addr/prefix.ts";
import { type ExternalInterface, externalInterface } from "./external_interface.ts";
import {
  type HostInterface,
  interfaceWithAddress,
  type OverlayDeviceTest,
  usableAddresses,
} from "./host_interface.ts";
import {
  findInterface,
  type InterfaceMatch,
  interfaceNamed,
  type NoMatch,
} from "./interface_lookup.ts";
import { compileInterfacePattern } from "./interface_pattern.ts";

/** The state of this host that the choice depends on. */
export interface SelectionInput {
  /** In the kernel's order, which is that of their indexes. */
  readonly interfaces: readonly HostInterface[];
  /** The interface of the default route. */
  readonly defaultRoutes: PerFamily<string>;
  /** The route to `--iface-can-reach`; absent if that is not set, or if there is no route. */
  readonly routeToTarget?: { readonly link: string; readonly source?: IpAddress };
}

export interface SelectionOptions {
  /** The families of the overlay network. */
  readonly families: readonly Family[];
  /** Names or addresses. */
  readonly interfaces: readonly string[];
  readonly patterns: readonly string[];
  readonly canReach: IpAddress | undefined;
  /** Addresses to advertise instead of the interface's. */
  readonly given: PerFamily<GivenAddress>;
  /** The overlay networks; addresses in them are not offered as a choice. */
  readonly networks?: readonly Prefix[];
  readonly isOverlayDevice: OverlayDeviceTest;
}

export interface Selection {
  readonly external: ExternalInterface;
  /** Why it was chosen, one line each, for the log. */
  readonly reasons: readonly string[];
}

/**
 * No interface qualifies. The message says what was tried, and names the interfaces of the host.
 */
export class InterfaceSelectionError extends OperatorError {
  override readonly name = "InterfaceSelectionError";
}

/** Throws `InterfaceSelectionError`. */
export function selectInterface(input: SelectionInput, options: SelectionOptions): Selection {
  const refusals: string[] = [];
  for (const { because, find } of attempts(input, options)) {
    const found = find();
    const result = "problem" in found ? found : complete(found, options.families);
    if ("problem" in result) {
      refusals.push(`${because}: ${result.problem}`);
      continue;
    }
    const { device, addresses } = result;
    const reasons = [
      ...refusals.map((refusal) => `skipped ${refusal}`),
      `using interface ${device.name} (${because}), MTU ${device.mtuBytes}`,
    ];
    if (!device.isUp) {
      reasons.push(`interface ${device.name} is down; no packets will pass until it is up`);
    }
    const { interfaces } = input;
    const { given } = options;
    const external = externalInterface(device, addresses, { interfaces, given });
    return { external, reasons: [...reasons, ...addressReasons(external, given)] };
  }
  throw new InterfaceSelectionError(
    `cannot choose an external interface (${refusals.join("; ")}); this host has ` +
      `${describeInterfaces(input.interfaces, options)}; choose one with --iface`,
  );
}

/**
 * The interfaces that can be chosen, as `eth0 (10.0.2.15, fd00::5), eth1 (no address)`: without
 * loopback and the overlay's own devices, which are known by their addresses in its networks.
 */
export function describeInterfaces(
  interfaces: readonly HostInterface[],
  { networks = [], isOverlayDevice }: Pick<SelectionOptions, "networks" | "isOverlayDevice">,
): string {
  const texts = interfaces.flatMap((device) => {
    const all = usableAddresses(device, 4).concat(usableAddresses(device, 6));
    const addresses = all.filter((address) =>
      !networks.some((network) => prefixContainsAddress(network, address))
    );
    const isInOverlay = all.some((address) =>
      !isLinkLocal(address) && !addresses.includes(address)
    );
    const isOverlayOnly = isInOverlay && addresses.every(isLinkLocal);
    if (device.name === "lo" || isOverlayDevice(device.name) || isOverlayOnly) return [];
    return [`${device.name} (${addresses.length === 0 ? "no address" : addresses.join(", ")})`];
  });
  return texts.length === 0 ? "no interfaces" : texts.join(", ");
}

interface Attempt {
  /** The flag or the rule, as in "using interface eth0 (--iface=eth0)". */
  readonly because: string;
  find(): InterfaceMatch | NoMatch;
}

function attempts(input: SelectionInput, options: SelectionOptions): Attempt[] {
  const { interfaces } = input;
  const { patterns, canReach, given, families } = options;
  const list: Attempt[] = [
    ...options.interfaces.map((text) => ({
      because: `--iface=${text}`,
      find: () => findInterface(interfaces, text),
    })),
    ...patterns.map((text) => ({
      because: `--iface-regex=${text}`,
      find: () => findByPattern(interfaces, text, families),
    })),
  ];
  if (canReach !== undefined) {
    const because = `--iface-can-reach=${canReach}`;
    list.push({ because, find: () => findByRoute(input, canReach) });
  }
  if (list.length > 0) return list;
  for (const [family, { address, source }] of entriesOf(given)) {
    const device = interfaceWithAddress(interfaces, address);
    // An address on lo, as routers have it, is reached through another interface.
    if (device === undefined || device.name === "lo" || !families.includes(family)) continue;
    const because = `it has the address ${address} of ${source}`;
    list.push({ because, find: () => ({ device, addresses: { [family]: address } }) });
  }
  list.push({ because: "default route", find: () => findByDefaultRoute(input, families) });
  return list;
}

/** By addresses: an interface where every family matches, then one where any does; then by name. */
function findByPattern(
  interfaces: readonly HostInterface[],
  text: string,
  families: readonly Family[],
): InterfaceMatch | NoMatch {
  const pattern = compileInterfacePattern(text);
  if ("problem" in pattern) return pattern;
  let partial: InterfaceMatch | undefined;
  for (const device of interfaces) {
    const addresses: { 4?: IpAddress; 6?: IpAddress } = {};
    for (const family of families) {
      const match = usableAddresses(device, family).find((address) => pattern.test(address));
      if (match !== undefined) addresses[family] = match;
    }
    const matches = familiesOf(addresses).length;
    if (matches === families.length) return { device, addresses };
    if (matches > 0) partial ??= { device, addresses };
  }
  if (partial !== undefined) return partial;
  const device = interfaces.find(({ name }) => pattern.test(name));
  return device === undefined
    ? { problem: "no interface has a matching address or name" }
    : { device, addresses: {} };
}

function findByRoute(
  { interfaces, routeToTarget }: SelectionInput,
  target: IpAddress,
): InterfaceMatch | NoMatch {
  if (routeToTarget === undefined) return { problem: "no route to this address" };
  const { link, source } = routeToTarget;
  const found = interfaceOfRoute(interfaces, link);
  if ("problem" in found || source === undefined) return found;
  return { ...found, addresses: { [familyOf(target)]: source } };
}

function findByDefaultRoute(
  { interfaces, defaultRoutes }: SelectionInput,
  families: readonly Family[],
): InterfaceMatch | NoMatch {
  const links: string[] = [];
  for (const family of families) {
    const link = defaultRoutes[family];
    if (link === undefined) return { problem: `this host has no default IPv${family} route` };
    links.push(link);
  }
  const [link = "", other = link] = links;
  return link === other
    ? interfaceOfRoute(interfaces, link)
    : { problem: `the IPv4 route uses ${link}, the IPv6 route ${other}` };
}

function interfaceOfRoute(
  interfaces: readonly HostInterface[],
  name: string,
): InterfaceMatch | NoMatch {
  return interfaceNamed(interfaces, name) ?? { problem: `interface ${name} is gone` };
}

/** With an address of each family, unless the interface lacks one or cannot be used at all. */
function complete(
  { device, addresses: named }: InterfaceMatch,
  families: readonly Family[],
): InterfaceMatch | NoMatch {
  if (device.mtuBytes === 0) return { problem: `interface ${device.name} has MTU 0` };
  const addresses: { 4?: IpAddress; 6?: IpAddress } = {};
  for (const family of families) {
    const address = named[family] ?? usableAddresses(device, family)[0];
    if (address === undefined) {
      return { problem: `interface ${device.name} has no usable IPv${family} address` };
    }
    addresses[family] = address;
  }
  return { device, addresses };
}

/** One line for each family: the address that is advertised, and where it comes from. */
function addressReasons(
  { addresses, publicAddresses, sourceAddresses }: ExternalInterface,
  given: PerFamily<GivenAddress>,
): string[] {
  return entriesOf(addresses).map(([family, own]) => {
    const advertised = publicAddresses[family];
    const source = given[family]?.source;
    if (source === undefined) {
      return `IPv${family} address ${own}, advertised to the other nodes`;
    }
    const translated = sourceAddresses[family] === advertised
      ? ""
      : "; this host does not have it: a router must translate it to this host";
    return `IPv${family} address ${own}, advertised to the other nodes as ${advertised} ` +
      `(${source}${translated})`;
  });
}
