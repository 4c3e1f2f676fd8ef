/** A tunnel whose advertised address is on another interface, which loses it for a while. */

import { expect } from "bun:test";
import { Cluster } from "./cluster.ts";
import type { Host } from "./host.ts";
import { IPV4 } from "./networks.ts";
import { eventually } from "./wait.ts";

export interface PublicAddressCase {
  /** The backend's type. */
  readonly type: string;
  readonly env?: Readonly<Record<string, string>>;
  /** The address that the host's tunnel has as its own, empty while there is none. */
  readonly end: (host: Host) => Promise<string>;
}

const PUBLIC = "203.0.113.1";
/** Ample: a virtual machine has one processor. */
const HEAL_MS = 60_000;

/** Expects the tunnel to use that address while the host has it, or else the interface's. */
export async function expectTunnelFollows(
  { type, env = {}, end }: PublicAddressCase,
): Promise<void> {
  await using cluster = await Cluster.create({ hosts: 2 });
  await cluster.configure({ ...IPV4, Backend: { Type: type } });
  const [one, two] = [cluster.host(1), cluster.host(2)];
  await one.sh(`ip addr add ${PUBLIC}/32 dev lo`);
  await two.sh(`ip route add ${PUBLIC}/32 via ${one.address(4)}`);
  one.start({ flags: [`--public-ip=${PUBLIC}`], env });
  two.start({ env });
  await Promise.all([one.ready(), two.ready()]);
  await cluster.attachWorkloads();
  await cluster.expectMesh({ timeoutMs: HEAL_MS });
  expect(await end(one)).toBe(PUBLIC);

  await one.sh(`ip addr del ${PUBLIC}/32 dev lo`);
  await eventually(
    "it begins at the interface",
    HEAL_MS,
    async () => await end(one) === one.address(4),
  );
  const advertised = (await cluster.leases()).map(({ publicIp }) => publicIp);
  expect(advertised.toSorted()).toEqual([two.address(4), PUBLIC].toSorted());

  await one.sh(`ip addr add ${PUBLIC}/32 dev lo`);
  await eventually("it begins there again", HEAL_MS, async () => await end(one) === PUBLIC);
  await cluster.expectMesh({ timeoutMs: HEAL_MS });
  await eventually(
    "all is in order",
    HEAL_MS,
    async () => (await one.http("/readyz")).status === 200,
  );
}

/** The local address of a kernel device. */
export async function localAddress(host: Host, device: string): Promise<string> {
  const shown = await host.sh(`ip -d link show ${device} || true`); // It is being recreated.
  return /local (\S+)/.exec(shown)?.[1] ?? "";
}
