/** Dual-stack nodes without a host, with what a flanneld there would have written. */

import { expect } from "bun:test";
import { eventually } from "../wait.ts";
import { FLANNEL_PREFIX, type NodeSpec } from "./kube_admin.ts";
import type { KubeHost } from "./kube_host.ts";

export interface VxlanFigures {
  readonly ipv4?: string;
  readonly ipv4Mac?: string;
  readonly ipv6Mac?: string;
  /** Whose podCIDRs it has, if not its own. */
  readonly subnet?: number;
}

/** Node `p<number>` as a flanneld there would have written it. */
export function vxlanPeer(number: number): NodeSpec {
  return {
    name: `p${number}`,
    podCidrs: [subnets(number).ipv4, subnets(number).ipv6],
    annotations: vxlanAnnotations(number),
  };
}

function subnets(number: number): { ipv4: string; ipv6: string } {
  return {
    ipv4: number < 100
      ? `10.244.${number}.0/24`
      : `10.244.${100 + (number >> 6)}.${(number & 63) * 4}/30`,
    ipv6: `fd00:10:244:${number.toString(16)}::/64`,
  };
}

function figures(number: number, changed: VxlanFigures): Required<Omit<VxlanFigures, "subnet">> {
  const [high, low] = [number >> 8, number & 255].map((value) =>
    value.toString(16).padStart(2, "0")
  );
  return {
    ipv4: `192.0.${2 + (number >> 8)}.${number & 255}`,
    ipv4Mac: `02:00:00:04:${high}:${low}`,
    ipv6Mac: `02:00:00:06:${high}:${low}`,
    ...changed,
  };
}

export function vxlanAnnotations(
  number: number,
  changed: VxlanFigures = {},
): Record<string, string> {
  const { ipv4, ipv4Mac, ipv6Mac } = figures(number, changed);
  return {
    [`${FLANNEL_PREFIX}backend-data`]: `{"VNI":1,"VtepMAC":"${ipv4Mac}"}`,
    [`${FLANNEL_PREFIX}backend-type`]: "vxlan",
    [`${FLANNEL_PREFIX}backend-v6-data`]: `{"VNI":1,"VtepMAC":"${ipv6Mac}"}`,
    [`${FLANNEL_PREFIX}kube-subnet-manager`]: "true",
    [`${FLANNEL_PREFIX}public-ip`]: ipv4,
    [`${FLANNEL_PREFIX}public-ipv6`]: `2001:db8::${number.toString(16)}`,
  };
}

/** What such a peer adds to the kernel, without details. */
export function vxlanEntries(number: number, changed: VxlanFigures = {}): string[] {
  const { ipv4, ipv4Mac, ipv6Mac } = figures(number, changed);
  const subnet = subnets(changed.subnet ?? number);
  const [first4, first6] = [subnet.ipv4.split("/")[0], subnet.ipv6.split("/")[0]];
  return [
    `fdb ${ipv4Mac} dev flannel.1 dst ${ipv4}`,
    `fdb ${ipv6Mac} dev flannel-v6.1 dst 2001:db8::${number.toString(16)}`,
    `neigh ${first4} lladdr ${ipv4Mac} dev flannel.1`,
    `neigh ${first6} lladdr ${ipv6Mac} dev flannel-v6.1`,
    `route ${subnet.ipv4} via ${first4} dev flannel.1`,
    `route ${subnet.ipv6} via ${first6} dev flannel-v6.1`,
  ];
}

/** Waits until a kernel has these entries in addition to the earlier ones, and no others. */
export async function expectVxlanPeers(
  host: KubeHost,
  before: string,
  wanted: readonly string[],
): Promise<void> {
  const without = new Set(before.split("\n"));
  await eventually(`${host.name} has exactly the wanted entries`, 30_000, async () => {
    const added = (await host.kernel()).split("\n").filter((line) => !without.has(line));
    const known =
      /^(fdb \S+ dev \S+ dst \S+|neigh \S+ lladdr \S+ dev \S+|route \S+ via \S+ dev \S+)/;
    expect(added.map((line) => known.exec(line)?.[1] ?? line).sort()).toEqual([...wanted].sort());
    return true;
  });
}
