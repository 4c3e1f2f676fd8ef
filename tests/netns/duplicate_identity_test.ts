/** A second lease with another node's MAC address or WireGuard key: it cannot cut that node off. */

import { expect, test } from "bun:test";
import { Cluster, PREFIX } from "../support/cluster.ts";
import type { Host } from "../support/host.ts";
import { IPV4, rememberSubnets } from "../support/networks.ts";
import { eventually } from "../support/wait.ts";
import { wireguardText } from "../support/wireguard_text.ts";

/** How long two WireGuard nodes that begin at the same instant may take to agree on a session. */
const AGREE_MS = 40_000;
const IDENTITY = {
  vxlan: "VtepMAC ([0-9a-f]{2}:){5}[0-9a-f]{2} \\(flannel.1\\)",
  wireguard: "PublicKey \\S{44} \\(flannel-wg\\)",
};

test.each(["vxlan", "wireguard"] as const)(
  "%s: the first node keeps it, also after a restart; the other waits until the first leaves",
  async (backend) => {
    await using cluster = await Cluster.create({ hosts: 2 });
    rememberSubnets(cluster, { ipv4: true, ipv6: false });
    await cluster.configure({ ...IPV4, Backend: { Type: backend } });
    await cluster.startAll();
    await cluster.attachWorkloads();
    await cluster.expectMesh({ timeoutMs: AGREE_MS });
    const [one, two] = [cluster.host(1), cluster.host(2)];
    const read = async (host: Host) =>
      await host.kernel() + (backend === "wireguard" ? await wireguardText(host) : "");
    const before = await read(one);
    const { key, value } = await cluster.leaseOf(two);
    const ping = one.ping(two);

    const rival = JSON.stringify({ ...value, PublicIP: "192.0.2.66" });
    await cluster.etcd.put(`${PREFIX}/subnets/10.5.99.0-24`, rival);
    const warnings = () => one.daemon.logLines(/^W.*ignoring lease/);
    await eventually("it is ignored", 30_000, () => warnings().length > 0);
    expect(warnings()[0]).toMatch(
      new RegExp(
        `lease 10.5.99.0-24: its ${
          IDENTITY[backend]
        } belongs to lease ${key}, whose node 192.0.2.2`,
      ),
    );
    expect(await read(one)).toBe(before);
    await one.daemon.stop();
    await one.up();
    expect(await read(one)).toBe(before);
    expect(warnings()).toHaveLength(1);
    expect((await ping.stop()).lost).toEqual([]);

    // The node's new lease is the later one, but the rival's node is not alive.
    await cluster.etcd.delete(`${PREFIX}/subnets/${key}`);
    await eventually(
      "the node keeps its identity",
      30_000,
      () =>
        one.daemon.logLines(/lease 10.5.99.0-24: .*192.0.2.2 is alive, while 192.0.2.66 is not/)
          .length > 0,
    );
    await cluster.expectMesh({ timeoutMs: AGREE_MS });
    expect((await two.http("/readyz")).status).toBe(200);
    const { ID } = await cluster.etcd.call("lease/grant", { TTL: "600" }) as { ID: string };
    const session = '{"identity":"of another","hostname":"other","interface":"eth0"}';
    await cluster.etcd.put(`${PREFIX}/sessions/192.0.2.66`, session, ID);
    const lost = await eventually("/readyz reports the duplicate", 30_000, async () => {
      const response = await two.http("/readyz");
      return response.status === 503 && response;
    });
    const reason =
      /of 192\.0\.2\.66 contains this node's (VtepMAC|PublicKey) \S+, and its node is alive/;
    expect(lost.body).toMatch(reason);
    expect(lost.body).toContain("lease 10.5.99.0-24 of 192.0.2.66 contains");
    await cluster.etcd.call("lease/revoke", { ID });
    await eventually(
      "the node has its identity again",
      30_000,
      async () => (await two.http("/readyz")).status === 200,
    );
    await cluster.expectMesh({ timeoutMs: AGREE_MS });

    await two.daemon.stop();
    await cluster.etcd.delete(`${PREFIX}/subnets/${key}`);
    await eventually("the rival has the identity", 30_000, async () => {
      const text = await read(one);
      return text.includes("192.0.2.66") && text.includes("10.5.99.0") &&
        !text.includes("10.5.2.0");
    });
  },
  300_000,
);
