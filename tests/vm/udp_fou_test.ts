/**
 * udp in the kernel, by FOU: real daemons, real packets. What it shares with ipip, and repairs, are
 * in long/udp_fou_tunnel_test.ts.
 */

import { describe, expect, test } from "bun:test";
import { Cluster } from "../support/cluster.ts";
import { DUAL, IPV4, rememberSubnets } from "../support/networks.ts";
import { expectRefused } from "./tunnel_scenarios.ts";

const FOU = { env: { FLANNELD_UDP_DATA_PATH: "fou" } };

test("the kernel's data path is used where possible, and logged", async () => {
  await using cluster = await Cluster.create({ hosts: 1 });
  await cluster.configure({ ...IPV4, Backend: { Type: "udp" } });
  const daemon = await cluster.host(1).up();
  expect(daemon.logLines(/ipip in UDP \(FOU\)/)).toHaveLength(1);
  expect(await cluster.host(1).kernel()).not.toContain("flannel-trial");
}, 180_000);

test("a packet travels as it is, in UDP from port 8285 to port 8285", async () => {
  await using cluster = await Cluster.create({ hosts: 2 });
  rememberSubnets(cluster, { ipv4: true, ipv6: false });
  await cluster.configure({ ...IPV4, Backend: { Type: "udp" } });
  await cluster.startAll(FOU);
  await cluster.attachWorkloads();
  await cluster.expectMesh();
  const [one, two] = [cluster.host(1), cluster.host(2)];
  const ping = two.ping(one);
  const seen = await one.sh(
    "timeout 30 tcpdump -c 1 -nn -x -i eth0 src 192.0.2.2 and udp port 8285 2>/dev/null",
  );
  expect((await ping.stop()).lost).toEqual([]);
  expect(seen).toContain("IP 192.0.2.2.8285 > 192.0.2.1.8285: UDP, length 1028");
  const bytes = seen.replaceAll(/^.*IP .*\n|0x[0-9a-f]+:|\s/gm, "");
  // IP 20 bytes and UDP 8 bytes; then the workload's packet begins: version 4, 5 words, its length.
  expect(bytes.slice(28 * 2, 28 * 2 + 8)).toBe("45000404");
  expect(bytes.slice(40 * 2, 48 * 2)).toBe("0a0502020a050102"); // 10.5.2.2 to 10.5.1.2
}, 180_000);

test("the daemon ends with a line that names the program on its port", async () => {
  await using cluster = await Cluster.create({ hosts: 1 });
  await cluster.configure({ ...IPV4, Backend: { Type: "udp" } });
  const one = cluster.host(1);
  await one.sh(
    "python3 -c '" + [
      "import os, socket, time",
      "s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)",
      's.bind(("192.0.2.1", 8285))',
      "time.sleep(300) if os.fork() == 0 else None",
    ].join("\n") + "' >/dev/null 2>&1 </dev/null",
  );
  const daemon = one.start(FOU);
  expect(await daemon.exitCode()).toBe(1);
  expect(daemon.logLines(/^[EF]/).join("\n")).toContain(
    "a program on this host uses UDP port 8285",
  );
}, 180_000);

describe("a configuration is refused in one line", () => {
  test.each([
    ["a port out of range", IPV4, { Port: 65536 }, /Port .* 65536; it must be .* 1 to 65535/],
    ["a port that is not a number", IPV4, { Port: "8285" }, /Port .* "8285"/],
    ["IPv6", DUAL, {}, /udp backend carries IPv4 only/],
  ])("with %s", async (_name, network, options, line) => {
    await expectRefused({
      config: { ...network, Backend: { Type: "udp", ...options } },
      line,
    });
  }, 180_000);

  test("with an unknown data path", async () => {
    await expectRefused({
      config: { ...IPV4, Backend: { Type: "udp" } },
      env: { FLANNELD_UDP_DATA_PATH: "dpdk" },
      line: /FLANNELD_UDP_DATA_PATH is "dpdk"/,
    });
  }, 180_000);
});
