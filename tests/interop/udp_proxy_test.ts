/** Go flannel's udp and ours by the proxy: one network, and one in place of the other. */

import { afterAll, beforeAll, expect, test } from "bun:test";
import { MixedCluster } from "./mixed_cluster.ts";

let cluster: MixedCluster;

beforeAll(async () => {
  const env = { FLANNELD_UDP_DATA_PATH: "tun" };
  const kinds = ["Go", "ours", "Go", "ours"] as const;
  cluster = await MixedCluster.start({ kinds, families: [4], backend: { Type: "udp" }, env });
}, 900_000);

afterAll(async () => {
  await cluster?.[Symbol.asyncDispose]();
}, 180_000);

test("workloads of Go and of ours reach each other at full MTU", async () => {
  for (const { host } of cluster.hosts) expect(host.subnet().mtuBytes).toBe(1472);
  expect(await cluster.first("ours").host.kernel()).toContain("type tun");
  expect(await cluster.unanswered()).toEqual([]);
}, 180_000);

test("datagrams of both have one form", async () => {
  const [go, ours] = [cluster.first("Go"), cluster.first("ours")];
  const seen: string[] = [];
  for (const [from, to] of [[go, ours], [ours, go]] as const) {
    const ping = from.host.ping(to.host);
    const text = await to.host.sh(
      `timeout 30 tcpdump -c 1 -nn -x -i eth0 src ${
        from.host.address(4)
      } and udp port 8285 2>/dev/null`,
    );
    await ping.stop();
    expect(text).toContain(
      `${from.host.address(4)}.8285 > ${to.host.address(4)}.8285: UDP, length 1028`,
    );
    const bytes = text.replaceAll(/^.*IP .*\n|0x[0-9a-f]+:|\s/gm, "").slice(28 * 2);
    // Version, length; then time to live (each node and each proxy is one hop) and protocol.
    seen.push(`${bytes.slice(0, 8)} ${bytes.slice(16, 20)}`);
  }
  expect(seen[0]).toBe("45000404 3e01");
  expect(seen[1]).toBe(seen[0] as string);
}, 180_000);

test("ours takes Go's place, and finds the device gone that went with it", async () => {
  const go = cluster.first("Go");
  await go.replaceBy("ours");
  expect(await cluster.unanswered()).toEqual([]);
  expect(await go.host.kernel()).toContain("type tun");
}, 180_000);
