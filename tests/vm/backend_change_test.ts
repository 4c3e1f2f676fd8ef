/** The configuration names another backend, and the daemons are restarted one after the other. */

import { expect, test } from "bun:test";
import { Cluster } from "../support/cluster.ts";
import type { Host } from "../support/host.ts";
import { charonPid, ipsecBackend, policyText } from "../support/ipsec.ts";
import { IPV4, rememberSubnets } from "../support/networks.ts";

/** Time for a key exchange, which computes on both ends. */
const AGREE_MS = 40_000;

async function change(cluster: Cluster, backend: object): Promise<void> {
  await cluster.configure({ ...IPV4, Backend: backend });
  for (const host of cluster.hosts) await restart(host);
  await cluster.attachWorkloads(); // With the new backend's MTU.
  await cluster.expectMesh({ timeoutMs: AGREE_MS });
}

async function restart(host: Host): Promise<void> {
  await host.daemon.stop();
  await host.up();
}

/** Our routes into the network, and whether there are IPsec policies. */
async function paths(host: Host): Promise<string[]> {
  const routes = (await host.kernel()).split("\n").filter((line) => line.startsWith("route "));
  const policies = await policyText(host);
  return policies === "" ? routes : [...routes, "policies"];
}

/** The devices of previous backends that a host's daemon reports, with the command for each. */
function orphans(host: Host): string[] {
  return host.daemon.logLines(/^W.*still in this network/).map((line) =>
    line.replace(/.*device (\S+) of the previous backend.*run "(.*)"/, "$1: $2")
  ).sort();
}

test("each backend can follow each other one", async () => {
  await using cluster = await Cluster.create({ hosts: 2 });
  rememberSubnets(cluster, { ipv4: true, ipv6: false });
  await cluster.configure({ ...IPV4, Backend: { Type: "vxlan" } });
  await cluster.startAll();
  const one = cluster.host(1);
  const vxlan = "flannel.1: ip link delete flannel.1";
  const wireguard = "flannel-wg: ip link delete flannel-wg";
  const udp = "flannel0: ip link delete flannel0; ip fou del port 8285 ipproto 4";

  await change(cluster, { Type: "wireguard" });
  expect(await paths(one)).toEqual(["route 10.5.0.0/16 dev flannel-wg proto 70 scope link"]);
  expect(orphans(one)).toEqual([vxlan]);

  await change(cluster, { Type: "ipip" });
  expect(await paths(one)).toEqual([
    "route 10.5.2.0/24 via 192.0.2.2 dev flannel.ipip proto 70 onlink",
  ]);
  expect(orphans(one)).toEqual([wireguard, vxlan].sort());

  await change(cluster, { Type: "udp" });
  expect(await paths(one)).toEqual([
    "route 10.5.2.0/24 via 192.0.2.2 dev flannel0 proto 70 onlink",
  ]);
  expect(orphans(one)).toEqual([wireguard, vxlan].sort());

  await change(cluster, ipsecBackend());
  expect(await paths(one)).toEqual(["policies"]);
  expect(orphans(one)).toEqual([wireguard, vxlan, udp].sort());

  // The policies would drop all unencrypted packets.
  await change(cluster, { Type: "host-gw" });
  expect(await paths(one)).toEqual(["route 10.5.2.0/24 via 192.0.2.2 dev eth0 proto 70"]);
  expect(one.daemon.log()).toContain("removed 3 IPsec policies of a previous run");
  expect(one.daemon.log()).toContain(`stop it with "kill ${await charonPid(one)}"`);

  // The commands in the log are sufficient.
  for (const line of orphans(one)) await one.sh(line.slice(line.indexOf(":") + 1));
  await change(cluster, { Type: "vxlan", VNI: 7 });
  expect(orphans(one)).toEqual([]);
  expect(await paths(one)).toEqual([
    "route 10.5.2.0/24 via 10.5.2.0 dev flannel.7 proto 70 onlink",
  ]);
  await change(cluster, { Type: "vxlan" });
  expect(await paths(one)).toEqual([
    "route 10.5.2.0/24 via 10.5.2.0 dev flannel.1 proto 70 onlink",
  ]);
  expect(orphans(one)).toEqual(["flannel.7: ip link delete flannel.7"]);
}, 300_000);

test(
  "routes through a previous backend's device are named, and policies of others kept",
  async () => {
    await using cluster = await Cluster.create({ hosts: 1 });
    const one = cluster.host(1);
    // As Go flannel and another program's IPsec leave them.
    await one.sh(
      `ip link add flannel.1 type vxlan id 1 local ${one.address(4)} dev eth0 dstport 8472
ip addr add 10.5.7.0/32 dev flannel.1
ip link set flannel.1 up
for n in 2 3 4 5; do ip route add 10.5.$n.0/24 via 10.5.$n.0 dev flannel.1 onlink; done
ip link add flannel.9 type bridge
ip addr add 10.9.1.0/32 dev flannel.9
policy() {
  ip xfrm policy add src $1 dst $2 dir out tmpl src 192.0.2.1 dst 192.0.2.9 proto esp mode tunnel $3
}
policy 10.5.7.0/24 10.5.8.0/24 "reqid 11"
policy 10.5.7.0/24 10.5.9.0/24 "reqid 12"
policy 10.5.7.0/24 10.6.9.0/24 "reqid 11"`,
    );
    await cluster.configure({ ...IPV4, Backend: { Type: "wireguard" } });
    await one.up();
    const lines = one.daemon.logLines(/^W.*still in this network/);
    expect(lines).toHaveLength(1);
    expect(lines[0]).toContain(
      "device flannel.1 of the previous backend is still in this network: its routes " +
        "(10.5.2.0/24, 10.5.3.0/24, 10.5.4.0/24 and 1 more) divert packets; " +
        'run "ip link delete flannel.1"',
    );
    expect((await one.sh("ip xfrm policy")).match(/dst \S+ $/gm)).toEqual(
      expect.arrayContaining(["dst 10.5.9.0/24 ", "dst 10.6.9.0/24 "]),
    );
    expect(await policyText(one)).not.toContain("10.5.8.0/24");
  },
  180_000,
);
