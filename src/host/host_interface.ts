/** One of this host's network interfaces, and which of its addresses other hosts can use. */

import {
  addressBits,
  type Family,
  familyOf,
  type IpAddress,
  isLinkLocal,
  nonUnicastKind,
} from "../addr/ip.ts";

export interface HostInterface {
  readonly name: string;
  /** Alternative names, as `ip link property add` gives them. */
  readonly altNames?: readonly string[];
  /** Does not change when the interface is renamed. */
  readonly ifindex: number;
  readonly mtuBytes: number;
  /** IFF_UP. */
  readonly isUp: boolean;
  readonly addresses: readonly HostAddress[];
}

export interface HostAddress {
  readonly address: IpAddress;
  /** Length of the network's prefix, as this interface is configured. */
  readonly prefixLength: number;
  /** Such as `eth0:1`; absent if it is the interface's name. IPv4 only. */
  readonly label?: string;
  /** Configured by hand, not by DHCP or router advertisements (IFA_F_PERMANENT). */
  readonly isPermanent: boolean;
  /** A privacy address of RFC 8981 (IFA_F_TEMPORARY). */
  readonly isTemporary: boolean;
  /** Past its preferred lifetime (IFA_F_DEPRECATED). */
  readonly isDeprecated: boolean;
}

/** Whether a device of this name belongs to the overlay: a backend created it. */
export type OverlayDeviceTest = (name: string) => boolean;

/** The interface that has the address. */
export function interfaceWithAddress(
  interfaces: readonly HostInterface[],
  address: IpAddress,
): HostInterface | undefined {
  return interfaces.find((device) => device.addresses.some((one) => one.address === address));
}

/**
 * The addresses of one family that other hosts can use, best first: global before link-local, the
 * host's own before virtual, permanent before dynamic, stable before temporary. Deprecated ones are
 * omitted.
 */
export function usableAddresses(device: HostInterface, family: Family): IpAddress[] {
  const usable = device.addresses.filter(({ address, isDeprecated }) =>
    familyOf(address) === family && !isDeprecated && nonUnicastKind(address) === undefined
  );
  const hasNetwork = usable.some((one) => !isLinkLocal(one.address) && !isSingle(one));
  const rank = (one: HostAddress) =>
    (isLinkLocal(one.address) ? 8 : 0) + (hasNetwork && mayBeVirtual(one) ? 4 : 0) +
    (one.isPermanent ? 0 : 2) + (one.isTemporary ? 1 : 0);
  return usable.toSorted((a, b) => rank(a) - rank(b)).map(({ address }) => address);
}

/**
 * Next to an address with a network, one without is a virtual address, which keepalived moves from
 * host to host (VRRP with its default mask). An address that DHCP assigns as /32 or /128 is not
 * permanent, and the host may have no other.
 */
export function mayBeVirtual(one: HostAddress): boolean {
  return one.isPermanent && isSingle(one);
}

/** Without a network: a /32 or /128. */
function isSingle({ address, prefixLength }: HostAddress): boolean {
  return prefixLength === addressBits(familyOf(address));
}
