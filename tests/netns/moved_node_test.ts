/** A node that returns with another public address but its previous device or key. */

import { expect, test } from "bun:test";
import { namespaceScript } from "../../src/lab/namespace.ts";
import { Cluster } from "../support/cluster.ts";
import type { Host } from "../support/host.ts";
import { IPV4 } from "../support/networks.ts";

/** How long two WireGuard nodes that begin at the same instant may take to agree on a session. */
const AGREE_MS = 40_000;
const OTHER_ADDRESS = "192.0.2.101";

test.each(["vxlan", "wireguard"] as const)(
  "%s: keeps its subnet, and the others send to its new address",
  async (backend) => {
    await using cluster = await Cluster.create({ hosts: 3 });
    await cluster.configure({ ...IPV4, Backend: { Type: backend } });
    await cluster.startAll();
    const [one, two, three] = cluster.hosts as [Host, Host, Host];
    await addInterface(cluster, one);
    const before = await cluster.leaseOf(one);
    const subnetFile = one.subnetText();
    await cluster.attachWorkloads();
    await cluster.expectMesh({ timeoutMs: AGREE_MS });

    const expectMoved = async (address: string) => {
      const leases = await cluster.leases();
      expect(leases).toHaveLength(3);
      const after = leases.find(({ key }) => key === before.key);
      expect(after?.value).toEqual({ ...before.value, PublicIP: address });
      expect(one.subnetText()).toBe(subnetFile);
      await cluster.expectMesh({ timeoutMs: AGREE_MS });
      for (const peer of [two, three]) {
        // WireGuard learns the source of packets, which depends on the host's routes.
        if (backend === "vxlan") expect(await peer.kernel()).toContain(`dst ${address} self`);
        expect(peer.daemon.logLines(/ignoring lease/)).toEqual([]);
        expect((await peer.http("/readyz")).status).toBe(200);
      }
    };
    await one.daemon.stop();
    await one.up({ flags: ["--iface=eth1"] });
    await expectMoved(OTHER_ADDRESS);
    // Its session still exists when it returns.
    await one.daemon.stop("SIGKILL");
    await one.up({ flags: ["--iface=eth0"] });
    await expectMoved(one.address(4));
    expect(one.daemon.logLines(/waiting for up to/)).toEqual([]);

    if (backend !== "vxlan") return; // Detecting that a node is alive takes 20 s.
    await three.daemon.stop();
    const mac = await two.sh("cat /sys/class/net/flannel.1/address");
    await three.sh(`ip link set flannel.1 address ${mac.trim()}`);
    const copy = three.start();
    expect(await copy.exitCode()).toBe(1);
    const reason =
      /is alive, and its lease \S+ of 192\.0\.2\.2 has the same VtepMAC \S+ as this node/.source;
    expect(copy.logEnd()).toMatch(new RegExp(`${reason}.*ip link delete flannel\\.1`));
    expect((await two.http("/readyz")).status).toBe(200);
    await cluster.expectMesh({ hosts: [one, two] });
  },
  300_000,
);

/** A second interface, `eth1`, with an address of its own on the hosts' segment. */
async function addInterface({ topology }: Cluster, host: Host): Promise<void> {
  const { switchNamespace, segments } = topology;
  await host.sh(`ip link add eth1 type veth peer name eth1-peer netns ${switchNamespace}`);
  await namespaceScript(
    switchNamespace,
    `ip link set eth1-peer master ${segments[0]?.bridge} up\n`,
  );
  await host.sh(`ip addr add ${OTHER_ADDRESS}/24 dev eth1 && ip link set eth1 up`);
}
