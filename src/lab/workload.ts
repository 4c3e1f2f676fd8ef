/** What a container runtime does with subnet.env: a device for the subnet and a workload behind it. */

import { familiesOf, mapFamilies, type PerFamily } from "../addr/family.ts";
import { addressValue, type Family, familyOf, formatAddress, type IpAddress } from "../addr/ip.ts";
import { splitPrefix } from "../addr/prefix.ts";
import { ipBatch, namespaceScript } from "./namespace.ts";
import { batchHere, type LabHost } from "./topology.ts";

/** What the daemon's subnet file says. */
export interface SubnetEnv {
  /** The subnet's first usable address with the subnet's length, such as `10.5.72.1/24`. */
  readonly gateways: PerFamily<{ readonly address: IpAddress; readonly length: number }>;
  readonly mtuBytes: number;
}

/** Reads a subnet file's text; throws with the line that is missing or wrong. */
export function parseSubnetEnv(text: string): SubnetEnv {
  const values = new Map(
    text.split("\n").map((line) => {
      const equals = line.indexOf("=");
      return [line.slice(0, equals), line.slice(equals + 1)] as const;
    }),
  );
  const subnet = (name: string) => {
    const value = values.get(name);
    const parts = value === undefined ? undefined : splitPrefix(value);
    if (value !== undefined && parts === undefined) {
      throw new Error(`cannot read the subnet file: ${name}=${value}`);
    }
    return parts;
  };
  const [ipv4, ipv6] = [subnet("FLANNEL_SUBNET"), subnet("FLANNEL_IPV6_SUBNET")];
  const mtuBytes = Number(values.get("FLANNEL_MTU"));
  if (!(mtuBytes > 0)) throw new Error(`cannot read the subnet file: no FLANNEL_MTU in ${text}`);
  return { gateways: { ...(ipv4 && { 4: ipv4 }), ...(ipv6 && { 6: ipv6 }) }, mtuBytes };
}

/** The address of the workload itself: the one after the host's. */
export function workloadAddresses(subnet: SubnetEnv): PerFamily<IpAddress> {
  return mapFamilies(
    subnet.gateways,
    ({ address }) => formatAddress(familyOf(address), addressValue(address) + 1n),
  );
}

/**
 * Connects each host's workload namespace by a veth pair: `cni0` on the host with the subnet's first
 * address, `eth0` in the workload with the second. A `cni0` of an earlier subnet is replaced.
 */
export async function attachWorkloads(
  hosts: readonly { readonly host: LabHost; readonly subnet: SubnetEnv }[],
  signal?: AbortSignal,
): Promise<void> {
  await Promise.all(
    hosts.map(({ host }) =>
      namespaceScript(
        host.namespace,
        "if [ -e /sys/class/net/cni0 ]; then ip link del cni0; fi\n",
        signal,
      )
    ),
  );
  await ipBatch(
    hosts.map(({ host, subnet: { mtuBytes } }) =>
      `link add eth0 mtu ${mtuBytes} netns ${host.workloadNamespace} type veth ` +
      `peer name cni0 mtu ${mtuBytes} netns ${host.namespace}`
    ),
    { markedAs: hosts[0]?.host.namespace ?? "", signal },
  );
  await Promise.all(hosts.flatMap(({ host, subnet }) => [
    namespaceScript(host.namespace, batchHere(hostLines(subnet)), signal),
    namespaceScript(host.workloadNamespace, batchHere(workloadLines(subnet)), signal),
  ]));
}

function hostLines({ gateways }: SubnetEnv): string[] {
  return [
    ...familiesOf(gateways).map((family) => addressLine(family, gateways[family], "cni0")),
    "link set cni0 up",
  ];
}

function workloadLines(subnet: SubnetEnv): string[] {
  const addresses = workloadAddresses(subnet);
  const families = familiesOf(addresses);
  return [
    "link set lo up",
    ...families.map((family) => {
      const length = subnet.gateways[family]?.length as number;
      return addressLine(family, { address: addresses[family] as IpAddress, length }, "eth0");
    }),
    "link set eth0 up",
    ...families.map((family) =>
      `route add default via ${subnet.gateways[family]?.address} dev eth0`
    ),
  ];
}

function addressLine(
  family: Family,
  value: { readonly address: IpAddress; readonly length: number } | undefined,
  device: string,
): string {
  const nodad = family === 6 ? " nodad" : "";
  return `address add ${value?.address}/${value?.length} dev ${device}${nodad}`;
}
