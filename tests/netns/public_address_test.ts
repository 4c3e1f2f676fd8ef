/** An address of `--public-ip` on another interface of the host, which loses it and gets it back. */

import { expect, test } from "bun:test";
import { Cluster } from "../support/cluster.ts";
import type { Host } from "../support/host.ts";
import { IPV4 } from "../support/networks.ts";
import { eventually } from "../support/wait.ts";

const PUBLIC = "203.0.113.1";
const HEAL_MS = 10_000;

/** The address that the first host's tunnel has as its own. */
const ENDS: readonly [string, Record<string, string>, (host: Host) => Promise<string>][] = [
  [
    "vxlan",
    {},
    async (host) => /local (\S+)/.exec(await host.sh("ip -d link show flannel.1"))?.[1] ?? "",
  ],
  [
    "udp",
    { FLANNELD_UDP_DATA_PATH: "tun" },
    async (host) => /(\S+):8285/.exec(await host.sh("ss -Huln sport = :8285"))?.[1] ?? "",
  ],
];

test.each(ENDS)(
  "%s: the tunnel begins there as long as the host has it",
  async (Type, env, end) => {
    await using cluster = await Cluster.create({ hosts: 2 });
    await cluster.configure({ ...IPV4, Backend: { Type } });
    const [one, two] = [cluster.host(1), cluster.host(2)];
    await one.sh(`ip addr add ${PUBLIC}/32 dev lo`);
    await two.sh(`ip route add ${PUBLIC}/32 via ${one.address(4)}`);
    one.start({ flags: ["--iface=eth0", `--public-ip=${PUBLIC}`], env });
    two.start({ env });
    await Promise.all([one.ready(), two.ready()]);
    await cluster.attachWorkloads();
    await cluster.expectMesh();
    expect(await end(one)).toBe(PUBLIC);

    await one.sh(`ip addr del ${PUBLIC}/32 dev lo`);
    await eventually(
      "it begins at the interface",
      HEAL_MS,
      async () => await end(one) === one.address(4),
    );
    const stored = (await cluster.leases()).map(({ publicIp }) => publicIp);
    expect(stored).toContain(PUBLIC);
    expect(stored).not.toContain(one.address(4));

    await one.sh(`ip addr add ${PUBLIC}/32 dev lo`);
    await eventually("it begins there again", HEAL_MS, async () => await end(one) === PUBLIC);
    await cluster.expectMesh({ timeoutMs: HEAL_MS });
    expect((await one.http("/readyz")).status).toBe(200);
  },
  90_000,
);
