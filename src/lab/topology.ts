/**
 * Hosts, workloads and the links between them, as network namespaces on one machine.
 *
 *     [w1]──cni0[h1]eth0──┐                     ┌──eth0[h3]cni0──[w3]
 *                         br1 [sw: routes] br2 ─┘
 *     [w2]──cni0[h2]eth0──┘      │
 *                            [etcd] eth0
 *
 * The switch is a namespace too. It contains one bridge for each segment and routes between
 * segments, so that the machine's own namespace gets no device. Every name starts with the prefix
 * of the topology: several topologies can exist at the same time, and are removed by that prefix.
 */

import { entriesOf, mapFamilies, type PerFamily, valuesOf } from "../addr/family.ts";
import { addressValue, type Family, formatAddress, type IpAddress } from "../addr/ip.ts";
import { makePrefix, type Prefix, prefixAddress, prefixLength } from "../addr/prefix.ts";
import { MAX_HOSTS } from "./lab_options.ts";
import { ipBatch, namespaceScript } from "./namespace.ts";

export interface TopologySpec {
  /** The beginning of the name of every namespace, such as `fl-lab-3fa2c1`. */
  readonly prefix: string;
  /**
   * The segment of each host, counted from 0: `[0, 0, 1]` puts the third host behind the router.
   */
  readonly hostSegments: readonly number[];
  /** Families of the underlay. */
  readonly families: readonly Family[];
  /** MTU of every link of the underlay. */
  readonly mtuBytes?: number;
}

export interface Topology {
  readonly prefix: string;
  readonly switchNamespace: string;
  readonly segments: readonly Segment[];
  readonly etcd: Station;
  readonly hosts: readonly LabHost[];
  readonly mtuBytes: number;
}

export interface Segment {
  /** The bridge's name in the switch's namespace. */
  readonly bridge: string;
  readonly prefixes: PerFamily<Prefix>;
  /** The switch's addresses: the default route of the segment's stations. */
  readonly gateways: PerFamily<IpAddress>;
}

/** A namespace with `eth0` on a segment. */
export interface Station {
  readonly namespace: string;
  /** Name of the other end of its link, in the switch's namespace. */
  readonly port: string;
  readonly segment: number;
  readonly addresses: PerFamily<IpAddress>;
}

export interface LabHost extends Station {
  /** `h1`, `h2`, … */
  readonly name: string;
  /** The namespace behind `cni0`, where a container would be. */
  readonly workloadNamespace: string;
}

/** Names and addresses of a topology; creates nothing. Throws `RangeError` for too many hosts. */
export function planTopology(spec: TopologySpec): Topology {
  const count = spec.hostSegments.length;
  if (count > MAX_HOSTS) throw new RangeError(`${count} hosts are more than ${MAX_HOSTS}`);
  const segmentCount = Math.max(0, ...spec.hostSegments) + 1;
  const segments = Array.from(
    { length: segmentCount },
    (_, index) => planSegment(index, { families: spec.families, isLarge: count > 240 }),
  );
  const station = (segment: number, position: number): PerFamily<IpAddress> =>
    mapFamilies((segments[segment] as Segment).prefixes, (prefix) => at(prefix, position));
  return {
    prefix: spec.prefix,
    switchNamespace: `${spec.prefix}-sw`,
    segments,
    etcd: {
      namespace: `${spec.prefix}-etcd`,
      port: "etcd",
      segment: 0,
      addresses: station(0, -3),
    },
    hosts: spec.hostSegments.map((segment, index) => ({
      name: `h${index + 1}`,
      namespace: `${spec.prefix}-h${index + 1}`,
      workloadNamespace: `${spec.prefix}-w${index + 1}`,
      port: `h${index + 1}`,
      segment,
      addresses: station(segment, index + 1),
    })),
    mtuBytes: spec.mtuBytes ?? 1500,
  };
}

/**
 * Creates the namespaces, links, addresses and routes. A failure leaves a part of them: remove it.
 */
export async function createTopology(topology: Topology, signal?: AbortSignal): Promise<void> {
  const stations = [topology.etcd, ...topology.hosts];
  await ipBatch([
    `netns add ${topology.switchNamespace}`,
    ...topology.segments.map(({ bridge }) =>
      `link add ${bridge} mtu ${topology.mtuBytes} netns ${topology.switchNamespace} ` +
      "type bridge stp_state 0 forward_delay 0 mcast_snooping 0"
    ),
    ...topology.hosts.map((host) => `netns add ${host.workloadNamespace}`),
    ...stations.flatMap(({ namespace, port }) => [
      `netns add ${namespace}`,
      `link add eth0 mtu ${topology.mtuBytes} netns ${namespace} type veth ` +
      `peer name ${port} mtu ${topology.mtuBytes} netns ${topology.switchNamespace}`,
    ]),
  ], { markedAs: topology.switchNamespace, signal });
  await namespaceScript(topology.switchNamespace, switchScript(topology), signal);
  await Promise.all(
    stations.map((station) =>
      namespaceScript(station.namespace, stationScript(topology, station), signal)
    ),
  );
}

/** Shell text that adds every link to its bridge and routes between the segments. */
function switchScript(topology: Topology): string {
  const lines = ["link set lo up"];
  for (const segment of topology.segments) {
    lines.push(...addressLines(segment.gateways, segment, segment.bridge));
    lines.push(`link set ${segment.bridge} up`);
  }
  for (const { port, segment } of [topology.etcd, ...topology.hosts]) {
    lines.push(`link set ${port} master ${(topology.segments[segment] as Segment).bridge} up`);
  }
  return FORWARDING + batchHere(lines);
}

/** Shell text that gives a station its addresses and its default route. */
function stationScript(topology: Topology, station: Station): string {
  const segment = topology.segments[station.segment] as Segment;
  return FORWARDING + batchHere([
    "link set lo up",
    ...addressLines(station.addresses, segment, "eth0"),
    "link set eth0 up",
    ...valuesOf(segment.gateways).map((gateway) => `route add default via ${gateway} dev eth0`),
  ]);
}

/** Forwarding as on any container host, and no duplicate address detection. */
const FORWARDING = `echo 1 >/proc/sys/net/ipv4/ip_forward
if [ -d /proc/sys/net/ipv6 ]; then
echo 1 >/proc/sys/net/ipv6/conf/all/forwarding
echo 0 >/proc/sys/net/ipv6/conf/default/accept_dad
for file in /proc/sys/net/ipv6/conf/*/accept_dad; do echo 0 >"$file"; done
fi
`;

/** Shell text that passes these lines to one `ip -batch`. */
export function batchHere(lines: readonly string[]): string {
  return `ip -batch - <<'END'\n${lines.join("\n")}\nEND\n`;
}

/** The line for `ip -batch` that adds an address, without duplicate address detection. */
export function addressLine(address: string, device: string): string {
  const nodad = address.includes(":") ? " nodad" : "";
  return `address add ${address} dev ${device}${nodad}`;
}

function addressLines(
  addresses: PerFamily<IpAddress>,
  segment: Segment,
  device: string,
): string[] {
  return entriesOf(segment.prefixes).flatMap(([family, prefix]) => {
    const address = addresses[family];
    if (address === undefined) return [];
    return [addressLine(`${address}/${prefixLength(prefix)}`, device)];
  });
}

/**
 * Only documentation and benchmarking ranges (RFC 5737, RFC 2544, RFC 3849), which a machine is
 * unlikely to use itself.
 */
function planSegment(
  index: number,
  options: { families: readonly Family[]; isLarge: boolean },
): Segment {
  const small = ["192.0.2.0", "198.51.100.0", "203.0.113.0"][index];
  if (small === undefined) throw new RangeError("a topology has at most three segments");
  const ranges: PerFamily<Prefix> = {
    4: options.isLarge
      ? makePrefix(`198.18.${index * 64}.0` as IpAddress, 18)
      : makePrefix(small as IpAddress, 24),
    6: makePrefix((index === 0 ? "2001:db8::" : `2001:db8:${index}::`) as IpAddress, 64),
  };
  const prefixes = mapFamilies(
    ranges,
    (prefix, family) => options.families.includes(family) ? prefix : undefined,
  );
  return {
    bridge: `br${index + 1}`,
    prefixes,
    gateways: mapFamilies(prefixes, (prefix) => at(prefix, -2)),
  };
}

/** The address `position` after the prefix's first, or before the end of its first /18 or /24. */
function at(prefix: Prefix, position: number): IpAddress {
  const first = addressValue(prefixAddress(prefix));
  const isIpv4 = !prefix.includes(":");
  const size = isIpv4 ? 1n << BigInt(32 - prefixLength(prefix)) : 0x10000n;
  const offset = BigInt(position);
  return formatAddress(isIpv4 ? 4 : 6, first + (offset < 0n ? size + offset : offset));
}
