/** Pings between all workloads of some hosts. */

import type { PerFamily } from "../../src/addr/family.ts";
import type { Family } from "../../src/addr/ip.ts";
import { systemClock } from "../../src/base/clock.ts";
import { pingAll } from "../../src/lab/ping_matrix.ts";
import { workloadAddresses } from "../../src/lab/workload.ts";
import type { SubnetFile } from "../../src/subnet/subnet_file.ts";
import type { Host } from "./host.ts";

export interface MeshOptions {
  readonly timeoutMs?: number;
  readonly families?: readonly Family[];
}

/** Where a workload is, and what its host's subnet file says. */
export interface MeshEnd {
  readonly name: string;
  readonly workloadNamespace: string;
  readonly network: SubnetFile;
}

/**
 * Pings every workload from every other at full MTU; throws with the pairs that stay silent for
 * `timeoutMs`. The workloads must be attached.
 */
export async function expectMesh(hosts: readonly Host[], options?: MeshOptions): Promise<void> {
  const ends = hosts.map((host) => ({
    name: host.name,
    workloadNamespace: host.station.workloadNamespace,
    network: host.subnet(),
  }));
  await expectPings(ends, options);
}

/** `expectMesh`, of any workloads. */
export async function expectPings(
  meshEnds: readonly MeshEnd[],
  { timeoutMs = 30_000, families = [4, 6] }: MeshOptions = {},
): Promise<void> {
  const ends = meshEnds.map(({ name, workloadNamespace, network }) => ({
    name,
    namespace: workloadNamespace,
    addresses: pick(workloadAddresses(network), families),
    mtuBytes: network.mtuBytes,
  }));
  const pings = await pingAll(ends, { timeoutMs, clock: systemClock });
  if (pings.length === 0 && ends.length > 1) throw new Error("there is nothing to ping");
  const lost = pings.filter((ping) => ping.milliseconds === undefined);
  if (lost.length > 0) {
    const pairs = lost.map((ping) => `${ping.from} → ${ping.to} (IPv${ping.family})`);
    throw new Error(`no answer: ${pairs.join(", ")}`);
  }
}

function pick<T>(values: PerFamily<T>, families: readonly Family[]): PerFamily<T> {
  return {
    ...(families.includes(4) && values[4] !== undefined ? { 4: values[4] } : {}),
    ...(families.includes(6) && values[6] !== undefined ? { 6: values[6] } : {}),
  };
}
