/** Does what a container runtime does with the subnet file: attaches a workload to its host. */

import { entriesOf, mapFamilies, type PerFamily } from "../addr/family.ts";
import { addressValue, familyOf, formatAddress, type IpAddress } from "../addr/ip.ts";
import { type Prefix, prefixAddress, prefixLength } from "../addr/prefix.ts";
import { bridgeAddress, type SubnetFile } from "../subnet/subnet_file.ts";
import { ipBatch, namespaceScript } from "./namespace.ts";
import { addressLine, batchHere, type LabHost } from "./topology.ts";

/** What a workload needs to know of its host's subnet file. */
export type WorkloadNetwork = Pick<SubnetFile, "subnets" | "mtuBytes">;

/** The namespaces of a host and of its workload. */
export type WorkloadHost = Pick<LabHost, "namespace" | "workloadNamespace">;

/** The address of the workload itself: the next one after that of the bridge. */
export function workloadAddresses({ subnets }: WorkloadNetwork): PerFamily<IpAddress> {
  return mapFamilies(
    subnets,
    (subnet) => formatAddress(familyOf(subnet), addressValue(prefixAddress(subnet)) + 2n),
  );
}

/**
 * Connects each host's workload namespace by a veth pair: `cni0` on the host with the subnet's
 * first usable address, `eth0` in the workload with the second. Replaces a `cni0` of an earlier
 * subnet.
 */
export async function attachWorkloads(
  hosts: readonly { readonly host: WorkloadHost; readonly network: WorkloadNetwork }[],
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
    hosts.map(({ host, network: { mtuBytes } }) =>
      `link add eth0 mtu ${mtuBytes} netns ${host.workloadNamespace} type veth ` +
      `peer name cni0 mtu ${mtuBytes} netns ${host.namespace}`
    ),
    { markedAs: hosts[0]?.host.namespace ?? "", signal },
  );
  await Promise.all(hosts.flatMap(({ host, network }) => [
    namespaceScript(host.namespace, batchHere(hostLines(network)), signal),
    namespaceScript(host.workloadNamespace, batchHere(workloadLines(network)), signal),
  ]));
}

function hostLines({ subnets }: WorkloadNetwork): string[] {
  return [
    ...entriesOf(subnets).map(([, subnet]) => addressLine(bridgeAddress(subnet), "cni0")),
    "link set cni0 up",
  ];
}

function workloadLines(network: WorkloadNetwork): string[] {
  const { subnets } = network;
  const addresses = workloadAddresses(network);
  return [
    "link set lo up",
    ...entriesOf(subnets).map(([family, subnet]) =>
      addressLine(`${addresses[family]}/${prefixLength(subnet)}`, "eth0")
    ),
    "link set eth0 up",
    ...entriesOf(subnets).map(([, subnet]) => `route add default via ${gateway(subnet)} dev eth0`),
  ];
}

/** The address of the bridge, without the length. */
function gateway(subnet: Prefix): string {
  return bridgeAddress(subnet).split("/")[0] as string;
}
