/** udp in the kernel, by FOU: real daemons, real packets. */

import { describe, expect, test } from "bun:test";
import { Cluster } from "../support/cluster.ts";
import { DUAL, IPV4, rememberSubnets } from "../support/networks.ts";
import { eventually } from "../support/wait.ts";
import { describeTunnel, expectRefused } from "./tunnel_scenarios.ts";

const FOU = { env: { FLANNELD_UDP_DATA_PATH: "fou" } };
/** The kernel does not announce changes to FOU ports; they are read every three seconds. */
const PORT_HEAL_MS = 15_000;

describeTunnel({
  backend: { Type: "udp" },
  device: "flannel0",
  mtuBytes: 1472,
  encapsulation: " encap fou encap-sport 8285 encap-dport 8285",
  nodeEntries: ["fou port 8285 ipproto 4"],
  leaseType: undefined,
  damage: [
    ["a closed port", "ip fou del port 8285", PORT_HEAL_MS],
    [
      "a port for another protocol",
      "ip fou del port 8285; ip fou add port 8285 ipproto 47",
      PORT_HEAL_MS,
    ],
    [
      "a device that sends to another port",
      "ip link change flannel0 type ipip local 192.0.2.1 encap fou encap-sport 9 encap-dport 9",
    ],
    ["a device without UDP", "ip link change flannel0 type ipip local 192.0.2.1 encap none"],
    [
      "everything at once",
      "ip fou del port 8285; ip addr flush dev flannel0; ip link set flannel0 down",
      PORT_HEAL_MS,
    ],
  ],
  start: FOU,
});

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

test("another port closes the previous one and is used at both ends", async () => {
  await using cluster = await Cluster.create({ hosts: 2 });
  rememberSubnets(cluster, { ipv4: true, ipv6: false });
  await cluster.configure({ ...IPV4, Backend: { Type: "udp" } });
  await cluster.startAll(FOU);
  await cluster.attachWorkloads();
  for (const host of cluster.hosts) await host.daemon.stop();
  await cluster.configure({ ...IPV4, Backend: { Type: "udp", Port: 9000 } });
  await cluster.host(1).sh("ip fou add port 7777 ipproto 4");
  await cluster.startAll(FOU);
  await cluster.expectMesh();
  await eventually("the previous port is closed", PORT_HEAL_MS, async () => {
    const ports = await cluster.host(1).sh("ip fou show");
    return ports.includes("port 9000 ipproto 4") && !ports.includes("8285");
  });
  expect(await cluster.host(1).kernel()).toContain("encap-sport 9000 encap-dport 9000");
  expect(await cluster.host(1).sh("ip fou show")).toContain("port 7777"); // of another program
}, 180_000);

test("a change from ipip and back removes the other backend's tunnel and port", async () => {
  await using cluster = await Cluster.create({ hosts: 2 });
  rememberSubnets(cluster, { ipv4: true, ipv6: false });
  const states: string[] = [];
  for (const Type of ["ipip", "udp", "ipip"]) {
    await cluster.configure({ ...IPV4, Backend: { Type } });
    await cluster.startAll(FOU);
    if (states.length === 0) await cluster.attachWorkloads();
    await cluster.expectMesh();
    states.push(await cluster.host(1).kernel());
    for (const host of cluster.hosts) await host.daemon.stop();
  }
  expect(states[0]).toContain("flannel.ipip");
  expect(states[1]).toContain("flannel0");
  expect(states[1]).toContain("fou port 8285");
  expect(states[1]).not.toContain("flannel.ipip");
  expect(states[2]).toBe(states[0] as string);
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
  expect(await daemon.exitCode(30_000)).toBe(1);
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
