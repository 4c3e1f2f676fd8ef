/**
 * Which interface carries the traffic between hosts, and why. Pure: the facts are read by
 * `readHostInterfaces`.
 *
 * Tried in this order: each `--iface`, each `--iface-regex`, `--iface-can-reach`. Only when none of
 * these is given: the interface that holds `--public-ip`, unless it is lo, then that of the default
 * route.
 */

import { OperatorError } from "../base/operator_error.ts";
import { familiesOf, type PerFamily } from "../addr/family.ts";
import { type Family, familyOf, type IpAddress, isLinkLocal, nonUnicastKind } from "../addr/ip.ts";
import { type Prefix, prefixContainsAddress } from "../addr/prefix.ts";
import type { ExternalInterface } from "./external_interface.ts";
import { externalInterface, holderOf } from "./external_interface.ts";
import { byNameOrAddress, type Found, named, type Problem } from "./interface_text.ts";
import { compileInterfacePattern } from "./interface_pattern.ts";

/** What is known of this host. */
export interface HostInterfaces {
  /** In the kernel's order, which is that of their indexes. */
  readonly interfaces: readonly HostInterface[];
  /** The default route's device. */
  readonly defaultRoutes: PerFamily<string>;
  /** The way to `--iface-can-reach`; absent where that is not given or there is no route. */
  readonly towards?: { readonly link: string; readonly source?: IpAddress };
}

export interface HostInterface {
  readonly name: string;
  /** Further names that `ip link property add` has given it. */
  readonly altNames?: readonly string[];
  /** Does not change when the interface is renamed. */
  readonly ifindex: number;
  readonly mtuBytes: number;
  /** IFF_UP. */
  readonly up: boolean;
  readonly addresses: readonly HostAddress[];
}

export interface HostAddress {
  readonly address: IpAddress;
  /** Of the network that the address is in, as the host sees it. */
  readonly prefixLength: number;
  /** Such as `eth0:1`; absent if it is the device's name. IPv4 only. */
  readonly label?: string;
  /** Set by hand, as opposed to DHCP or router advertisements (IFA_F_PERMANENT). */
  readonly permanent: boolean;
  /** A privacy address of RFC 8981 (IFA_F_TEMPORARY). */
  readonly temporary: boolean;
  /** Past its preferred lifetime (IFA_F_DEPRECATED). */
  readonly deprecated: boolean;
}

export interface SelectionOptions {
  /** The network's families. */
  readonly families: readonly Family[];
  /** Names or addresses. */
  readonly interfaces: readonly string[];
  readonly patterns: readonly string[];
  readonly canReach: IpAddress | undefined;
  /** Addresses to advertise instead of the interface's. */
  readonly publicAddresses: PerFamily<IpAddress>;
  /** The overlay's networks: their addresses are not offered as a choice. */
  readonly networks?: readonly Prefix[];
}

export interface Selection {
  readonly external: ExternalInterface;
  /** How it was found, one line each, for the log. */
  readonly reasons: readonly string[];
}

/** No interface fits. The message says what was tried, and which interfaces there are. */
export class InterfaceSelectionError extends OperatorError {
  override readonly name = "InterfaceSelectionError";
}

/** Chooses. Throws `InterfaceSelectionError`. */
export function selectInterface(facts: HostInterfaces, options: SelectionOptions): Selection {
  const refusals: string[] = [];
  for (const { because, find } of attempts(facts, options)) {
    const found = find();
    const result = "problem" in found ? found : complete(found, options.families);
    if ("problem" in result) {
      refusals.push(`${because}: ${result.problem}`);
      continue;
    }
    const { device, addresses } = result;
    const reasons = [
      ...refusals.map((refusal) => `passed over ${refusal}`),
      `using interface ${device.name} (${because}), MTU ${device.mtuBytes}`,
    ];
    if (!device.up) reasons.push(`interface ${device.name} is down; nothing passes until it is up`);
    const { interfaces } = facts;
    const given = options.publicAddresses;
    const external = externalInterface(device, addresses, { interfaces, given });
    return { external, reasons: [...reasons, ...addressReasons(external, given)] };
  }
  throw new InterfaceSelectionError(
    `no interface can carry the traffic between hosts (${refusals.join("; ")}); there are ` +
      `${describeInterfaces(facts, options.networks)}; choose one with --iface`,
  );
}

/**
 * The interfaces that could be chosen, as `eth0 (10.0.2.15, fd00::5), eth1 (no address)`: without
 * loopback and the overlay's own, which the addresses in its networks show.
 */
export function describeInterfaces(
  facts: Pick<HostInterfaces, "interfaces">,
  networks: readonly Prefix[] = [],
): string {
  const texts = facts.interfaces.flatMap((device) => {
    const all = usableAddresses(device, 4).concat(usableAddresses(device, 6));
    const addresses = all.filter((address) =>
      !networks.some((network) => prefixContainsAddress(network, address))
    );
    const isOverlay = all.some((address) =>
      !isLinkLocal(address) && !addresses.includes(address)
    ) &&
      addresses.every(isLinkLocal);
    if (device.name === "lo" || device.name.startsWith("flannel") || isOverlay) return [];
    return [`${device.name} (${addresses.length === 0 ? "no address" : addresses.join(", ")})`];
  });
  return texts.length === 0 ? "no interfaces" : texts.join(", ");
}

/**
 * Addresses of one family that other hosts may use, the best first: global before link-local, the
 * host's own before virtual, permanent before dynamic, stable before temporary; deprecated ones are
 * left out.
 */
export function usableAddresses(device: HostInterface, family: Family): IpAddress[] {
  const usable = device.addresses.filter(({ address, deprecated }) =>
    familyOf(address) === family && !deprecated && nonUnicastKind(address) === undefined
  );
  const hasNetwork = usable.some((one) => !isLinkLocal(one.address) && !isSingle(one));
  return usable
    .toSorted((a, b) => rank(a, hasNetwork) - rank(b, hasNetwork))
    .map(({ address }) => address);
}

function rank(one: HostAddress, hasNetwork: boolean): number {
  const { address, permanent, temporary } = one;
  const isVirtual = hasNetwork && mayBeVirtual(one);
  return (isLinkLocal(address) ? 8 : 0) + (isVirtual ? 4 : 0) + (permanent ? 0 : 2) +
    (temporary ? 1 : 0);
}

/**
 * Next to an address with a network, one without is a virtual address, which keepalived moves from
 * host to host (vrrp with its default mask). What DHCP gives out as /32 or /128 is not permanent, and
 * a host may well have no other.
 */
export function mayBeVirtual(one: HostAddress): boolean {
  return one.permanent && isSingle(one);
}

/** Without a network, a /32 or /128. */
function isSingle({ address, prefixLength }: HostAddress): boolean {
  return prefixLength === (familyOf(address) === 4 ? 32 : 128);
}

interface Attempt {
  /** Completes "using interface eth0 (…)". */
  readonly because: string;
  find(): Found | Problem;
}

function attempts(facts: HostInterfaces, options: SelectionOptions): Attempt[] {
  const { interfaces, patterns, canReach, publicAddresses, families } = options;
  const list: Attempt[] = [
    ...interfaces.map((text) => ({
      because: `--iface=${text}`,
      find: () => byNameOrAddress(facts, text),
    })),
    ...patterns.map((text) => ({
      because: `--iface-regex=${text}`,
      find: () => byPattern(facts, text, families),
    })),
  ];
  if (canReach !== undefined) {
    list.push({ because: `--iface-can-reach=${canReach}`, find: () => byReach(facts, canReach) });
  }
  if (list.length > 0) return list;
  for (const family of familiesOf(publicAddresses)) {
    const address = publicAddresses[family] as IpAddress;
    const holder = holderOf(facts, address);
    // A router's address on lo is reached by another interface.
    if (holder === undefined || holder.name === "lo" || !families.includes(family)) continue;
    const because = `it has the address ${address} of --public-ip${family === 6 ? "v6" : ""}`;
    list.push({ because, find: () => ({ device: holder, chosen: { [family]: address } }) });
  }
  list.push({ because: "default route", find: () => byDefaultRoute(facts, families) });
  return list;
}

/** By addresses: an interface where every family matches, then one where any does; then by name. */
function byPattern(
  facts: HostInterfaces,
  text: string,
  families: readonly Family[],
): Found | Problem {
  const pattern = compileInterfacePattern(text);
  if ("problem" in pattern) return pattern;
  let partial: Found | undefined;
  for (const device of facts.interfaces) {
    const chosen: { 4?: IpAddress; 6?: IpAddress } = {};
    for (const family of families) {
      const match = usableAddresses(device, family).find((address) => pattern.test(address));
      if (match !== undefined) chosen[family] = match;
    }
    const matches = familiesOf(chosen).length;
    if (matches === families.length) return { device, chosen };
    if (matches > 0) partial ??= { device, chosen };
  }
  if (partial !== undefined) return partial;
  const device = facts.interfaces.find(({ name }) => pattern.test(name));
  return device === undefined
    ? { problem: "it matches no interface's addresses and no name" }
    : { device, chosen: {} };
}

function byReach(facts: HostInterfaces, target: IpAddress): Found | Problem {
  const { towards } = facts;
  if (towards === undefined) return { problem: "there is no route to it" };
  const found = deviceOf(facts, towards.link);
  if ("problem" in found || towards.source === undefined) return found;
  return { ...found, chosen: { [familyOf(target)]: towards.source } };
}

function byDefaultRoute(facts: HostInterfaces, families: readonly Family[]): Found | Problem {
  const names = new Map<Family, string>();
  for (const family of families) {
    const name = facts.defaultRoutes[family];
    if (name === undefined) return { problem: `there is no default IPv${family} route` };
    names.set(family, name);
  }
  if (new Set(names.values()).size > 1) {
    return { problem: `IPv4's is through ${names.get(4)}, IPv6's through ${names.get(6)}` };
  }
  return deviceOf(facts, names.get(families[0] as Family) as string);
}

/** As a route names it. */
function deviceOf(facts: HostInterfaces, name: string): Found | Problem {
  return named(facts, name) ?? { problem: `interface ${name} is gone` };
}

/** Finds the address of each family, and whether the device can be used at all. */
function complete(
  { device, chosen }: Found,
  families: readonly Family[],
): { device: HostInterface; addresses: PerFamily<IpAddress> } | Problem {
  if (device.mtuBytes === 0) return { problem: `interface ${device.name} has MTU 0` };
  const addresses: { 4?: IpAddress; 6?: IpAddress } = {};
  for (const family of families) {
    const address = chosen[family] ?? usableAddresses(device, family)[0];
    if (address === undefined) {
      return { problem: `interface ${device.name} has no usable IPv${family} address` };
    }
    addresses[family] = address;
  }
  return { device, addresses };
}

/** One line for each family: which address is advertised, and why. */
function addressReasons(
  { addresses, publicAddresses, sourceAddresses }: ExternalInterface,
  given: PerFamily<IpAddress>,
): string[] {
  return familiesOf(addresses).map((family) => {
    const advertised = publicAddresses[family];
    const origin = given[family] === undefined
      ? "the interface's"
      : `given by --public-ip${family === 6 ? "v6" : ""}`;
    const translated = sourceAddresses[family] === advertised
      ? ""
      : "; this host does not have it, so it must be translated on the way";
    return `IPv${family} address ${addresses[family]}, advertised to the other nodes as ` +
      `${advertised} (${origin}${translated})`;
  });
}
