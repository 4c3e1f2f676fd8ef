/** Commands that both programs run: Go flannel has no shell, so each is a program and a file. */

import { expect, test } from "bun:test";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { eventually } from "../support/wait.ts";
import { MixedCluster, subnetOf } from "./mixed_cluster.ts";

/** Writes its input to a file named after the host, and creates the route of host-gw. */
const ADD = `read -r data
own=$(ip -4 -o address show eth0 | sed 's/.*inet \\([0-9.]*\\).*/\\1/')
echo "$PUBLIC_IP has $SUBNET and sent $data" >> "$(dirname "$0")/$own"
exec ip route replace "$SUBNET" via "$PUBLIC_IP"
`;

test("extension: each program's commands receive the output of the other's", async () => {
  const directory = mkdtempSync(join(tmpdir(), "extension-interop-"));
  try {
    writeFileSync(join(directory, "add"), ADD);
    await using mixed = await MixedCluster.start({
      kinds: ["Go", "ours", "Go", "ours"],
      families: [4],
      backend: {
        Type: "extension",
        PreStartupCommand: "cat /sys/class/net/eth0/address",
        SubnetAddCommand: `sh ${directory}/add`,
        SubnetRemoveCommand: "ip route del $SUBNET via $PUBLIC_IP",
      },
    });
    expect(await mixed.unanswered()).toEqual([]);
    const nodes = await Promise.all(mixed.hosts.map(async (one) => {
      const mac = (await one.host.sh("cat /sys/class/net/eth0/address")).trim();
      const address = one.host.address(4);
      return { address, line: `${address} has ${subnetOf(one, 4).subnet} and sent ${mac}` };
    }));
    for (const { address } of nodes) {
      const received = readFileSync(join(directory, address), "utf8").trim().split("\n");
      const others = nodes.filter((other) => other.address !== address);
      expect([...new Set(received)].sort()).toEqual(others.map(({ line }) => line).sort());
    }
    const leases = await mixed.cluster.leases();
    expect(new Set(leases.map(({ value }) => Object.keys(value).join())).size).toBe(1);

    const [, ours, gone] = mixed.hosts.map(({ host }) => host);
    if (ours === undefined || gone === undefined) throw new Error("there are four hosts");
    const { key } = await mixed.cluster.leaseOf(gone);
    await gone.daemon.stop("SIGKILL");
    await mixed.cluster.etcd.delete(`/coreos.com/network/subnets/${key}`);
    await eventually(
      "the route of a Go node that has gone is removed",
      30_000,
      async () => !(await ours.sh("ip route")).includes(`via ${gone.address(4)} `),
    );
  } finally {
    rmSync(directory, { recursive: true });
  }
}, 300_000);
