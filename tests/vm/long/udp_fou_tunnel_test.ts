/** What udp by FOU shares with ipip, repairs of its own entries, and its changes. */

import { expect, test } from "bun:test";
import { Cluster } from "../../support/cluster.ts";
import { IPV4, rememberSubnets } from "../../support/networks.ts";
import { eventually } from "../../support/wait.ts";
import { describeTunnel } from "../tunnel_scenarios.ts";

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
