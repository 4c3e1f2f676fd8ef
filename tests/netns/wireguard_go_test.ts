/**
 * The wireguard backend with wireguard-go, on a kernel without WireGuard. On a kernel that
 * has it the daemon would not start wireguard-go, and these tests are skipped.
 */

import { describe, expect, test } from "bun:test";
import { join } from "node:path";
import { wireguardSupport } from "../../src/kernel/wireguard/wireguard_support.ts";
import { Cluster } from "../support/cluster.ts";
import type { Host } from "../support/host.ts";
import { DUAL, IPV4, rememberSubnets } from "../support/networks.ts";
import { eventually } from "../support/wait.ts";
import { keyNames, wireguardText } from "../support/wireguard_text.ts";

/** WireGuard is read every 2 to 60 s, less often the longer a dump takes. */
const HEAL_MS = 100_000;
/**
 * Two ends that begin at the same instant may each keep another session; they notice after
 * KEEPALIVE_TIMEOUT + REKEY_TIMEOUT without a packet, 15 s (WireGuard's paper, section 6).
 */
const AGREE_MS = 40_000;
const inUserSpace = describe.skipIf(await wireguardSupport() === "kernel");

async function start(hosts: number, options: object = {}): Promise<Cluster> {
  const cluster = await Cluster.create({ hosts, families: [4, 6] });
  rememberSubnets(cluster, { ipv4: true, ipv6: true });
  await cluster.configure({ ...DUAL, Backend: { Type: "wireguard", ...options } });
  await cluster.startAll();
  await cluster.attachWorkloads();
  return cluster;
}

/** Process ids of wireguard-go, by the device that each runs. */
async function processes(host: Host): Promise<Map<string, number>> {
  const text = await host.sh(`for pid in $(ip netns pids ${host.station.namespace}); do
  echo $pid $(tr '\\0' ' ' < /proc/$pid/cmdline)
done`);
  const found = text.matchAll(/^(\d+) \S*wireguard-go (\S+)/gm);
  return new Map([...found].map(([, pid, device]) => [device as string, Number(pid)]));
}

inUserSpace("without WireGuard in the kernel", () => {
  test.each([
    ["a device for each family", {}],
    ["one device", { Mode: "auto", PSK: "oEHRe5SRIqoumo0vgsCEsf3aNPBnu1xTsXQaUHxUpF4=" }],
  ])("three hosts reach each other at full MTU, with %s", async (_name, options) => {
    await using cluster = await start(3, options);
    for (const host of cluster.hosts) {
      expect(host.subnet().mtuBytes).toBe(1420);
      expect(host.daemon.log()).toContain("using wireguard-go in user space");
    }
    await cluster.expectMesh({ timeoutMs: AGREE_MS });
  }, 300_000);

  test("a restart and a crash lose no packet and keep devices and processes", async () => {
    await using cluster = await start(2);
    await cluster.expectMesh({ timeoutMs: AGREE_MS });
    const [one, two] = [cluster.host(1), cluster.host(2)];
    const text = await wireguardText(one, await keyNames(cluster));
    expect(text).toBe(`\
wireguard flannel-wg key <h1> listen-port 51820
wireguard flannel-wg peer <h2> endpoint 192.0.2.2:51820 allowed-ips 10.5.2.0/24
wireguard flannel-wg-v6 key <h1> listen-port 51821
wireguard flannel-wg-v6 peer <h2> endpoint [2001:db8::2]:51821 allowed-ips fd00:5:0:2::/64
`);
    const [kernel, programs] = [await one.kernel(), await processes(one)];
    expect([...programs.keys()].sort()).toEqual(["flannel-wg", "flannel-wg-v6"]);
    const pings = [one.ping(two, 4), two.ping(one, 6)];
    for (const signal of ["SIGTERM", "SIGKILL"] as const) {
      await one.daemon.stop(signal);
      await Bun.sleep(100);
      await one.up();
      expect(await one.kernel()).toBe(kernel);
      expect(await wireguardText(one, await keyNames(cluster))).toBe(text);
      expect(await processes(one)).toEqual(programs);
    }
    for (const ping of pings) expect((await ping.stop()).lost).toEqual([]);
  }, 300_000);

  test(
    "a daemon in another network namespace with the same /run does not take over the device",
    async () => {
      await using cluster = await Cluster.create({ hosts: 2 });
      await cluster.configure({ ...IPV4, Backend: { Type: "wireguard" } });
      const [one, two] = [cluster.host(1), cluster.host(2)];
      await one.up();
      const before = await wireguardText(one);
      const [key] = before.match(/key \S+/) ?? [];
      // By default the key file is in /run as well.
      const env = { WIREGUARD_KEY_FILE: join(two.directory, "key") };
      const second = two.start({ runOf: one, env });
      expect(await second.exitCode()).toBe(1);
      expect(second.logLines(/^[EF]/)).toEqual([
        expect.stringContaining(
          "in another network namespace listens on the socket /var/run/wireguard/",
        ),
      ]);
      expect(await wireguardText(one)).toContain(`${key} listen-port 51820`);
      expect((await cluster.leaseOf(two)).value.BackendData).not.toEqual(
        (await cluster.leaseOf(one)).value.BackendData,
      );
    },
    120_000,
  );

  test.each([
    ["a killed wireguard-go", (pid: number) => `kill -KILL ${pid}`],
    ["a deleted device", () => "ip link del flannel-wg"],
  ])("%s is started again, with its peers", async (_name, damage) => {
    await using cluster = await start(2);
    await cluster.expectMesh({ timeoutMs: AGREE_MS });
    const one = cluster.host(1);
    const read = async () => await one.kernel() + await wireguardText(one);
    const before = await read();
    const pid = (await processes(one)).get("flannel-wg") as number;
    await one.sh(damage(pid));
    await eventually("the device and its peers are restored", HEAL_MS, async () => {
      expect((await processes(one)).get("flannel-wg") ?? pid).not.toBe(pid);
      expect(await read()).toBe(before);
      return true;
    });
    await cluster.expectMesh({ timeoutMs: AGREE_MS });
  }, 300_000);
});
