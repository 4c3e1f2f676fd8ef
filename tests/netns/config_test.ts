/** The network configuration appears late, is invalid, changes. */

import { expect, test } from "bun:test";
import { Cluster, PREFIX } from "../support/cluster.ts";
import { IPV4 } from "../support/networks.ts";
import { eventually } from "../support/wait.ts";

const VXLAN = { ...IPV4, Backend: { Type: "vxlan" } };

test("a configuration that appears late is used", async () => {
  await using cluster = await Cluster.create({ hosts: 1 });
  const one = cluster.host(1);
  const daemon = one.start();
  const lines = () => daemon.logLines(/network configuration/);
  await eventually("it waits", 30_000, () => lines().length > 0);
  await Bun.sleep(2_500); // it reads the configuration once a second
  expect((await one.http("/readyz")).status).toBe(503);
  expect((await one.http("/healthz")).status).toBe(200);
  expect(lines()).toHaveLength(1);
  expect(lines()[0]).toContain(`${PREFIX}/config`);
  await cluster.configure(VXLAN);
  await one.ready();
}, 120_000);

test.each([
  ["cut short", '{"Network":', /config/],
  ["no network", "{}", /Network/],
  ["an invalid prefix", '{"Network":"10.5.0.0/99"}', /10\.5\.0\.0\/99/],
  ["a subnet length out of range", '{"Network":"10.5.0.0/16","SubnetLen":31}', /31/],
  [
    "SubnetMin outside the network",
    '{"Network":"10.5.0.0/16","SubnetMin":"10.9.0.0"}',
    /10\.9\.0\.0/,
  ],
])(
  "a configuration with %s is logged in one line, and a valid one is waited for",
  async (_name, text, pattern) => {
    await using cluster = await Cluster.create({ hosts: 1 });
    await cluster.configure(text);
    const one = cluster.host(1);
    const daemon = one.start();
    await eventually("it is logged", 30_000, () => daemon.logLines(pattern).length > 0);
    await Bun.sleep(2_200);
    expect(daemon.logLines(/^E/)).toHaveLength(1);
    expect(await one.kernel()).toBe("");
    await cluster.configure(VXLAN);
    await one.ready();
  },
  120_000,
);

test.each([
  ["an unknown backend", { Type: "vxlam" }, /vxlam.*vxlan/],
  ["a VNI out of range", { Type: "vxlan", VNI: 16777216 }, /16777216/],
  ["a VNI that is not a number", { Type: "vxlan", VNI: "one" }, /VNI.*one/],
])("a Backend object with %s ends the daemon with one line", async (_name, backend, pattern) => {
  await using cluster = await Cluster.create({ hosts: 1 });
  await cluster.configure({ ...IPV4, Backend: backend });
  const one = cluster.host(1);
  const daemon = one.start();
  expect(await daemon.exitCode()).toBe(1);
  expect(daemon.logLines(/^[EF]/)).toHaveLength(1);
  expect(daemon.logLines(/^[EF]/)[0]).toMatch(pattern);
  expect(await one.kernel()).toBe("");
  expect(await cluster.leases()).toEqual([]);
}, 120_000);

test(
  "a subnet file that is not a regular file ends the daemon with one line, before it has a lease",
  async () => {
    await using cluster = await Cluster.create({ hosts: 1 });
    await cluster.configure(VXLAN);
    const one = cluster.host(1);
    const [fifo, device] = [`${one.directory}/fifo`, `${one.directory}/null`];
    await one.sh(`mkfifo ${fifo}; mknod ${device} c 1 3`);
    for (const [path, kind] of [[fifo, "FIFO"], [device, "device"]] as const) {
      const daemon = one.start({ flags: [`--subnet-file=${path}`] });
      expect(await daemon.exitCode()).toBe(1);
      expect(daemon.logLines(/^[EF]/)).toHaveLength(1);
      expect(daemon.logLines(/^[EF]/)[0]).toContain(`${path} is a ${kind}, not a regular file`);
    }
    expect(await one.sh(`stat -c %F ${fifo} ${device}`)).toBe("fifo\ncharacter special file\n");
    expect(await cluster.leases()).toEqual([]);
  },
  120_000,
);

test("unknown keys are named in a warning, and keys of any case are read", async () => {
  await using cluster = await Cluster.create({ hosts: 1 });
  await cluster.configure(
    '{"network":"10.5.0.0/16","SUBNETLEN":25,"Colour":"red","backend":{"type":"VxLan","vni":9}}',
  );
  const one = cluster.host(1);
  const daemon = await one.up();
  expect(one.subnetText()).toMatch(/FLANNEL_SUBNET=10\.5\.\d+\.(1|129)\/25\n/);
  expect(await one.kernel()).toContain("link flannel.9: ");
  expect(daemon.logLines(/^W.*Colour/)).toHaveLength(1);
}, 120_000);

test(
  "a changed or deleted configuration is logged once and does not disturb a running node",
  async () => {
    await using cluster = await Cluster.create({ hosts: 2 });
    await cluster.configure(VXLAN);
    await cluster.startAll();
    await cluster.attachWorkloads();
    const one = cluster.host(1);
    const [before, subnet] = [await one.kernel(), one.subnetText()];
    const ping = one.ping(cluster.host(2));
    await cluster.configure({ Network: "10.66.0.0/16", Backend: { Type: "host-gw" } });
    await eventually(
      "it is logged",
      30_000,
      () => one.daemon.logLines(/configuration changed; restart flanneld to apply it/).length > 0,
    );
    await cluster.configure("{");
    const warnings = () => one.daemon.logLines(/^W.*configuration/).length;
    await eventually("each change is logged", 30_000, () => warnings() === 2);
    await cluster.etcd.delete(`${PREFIX}/config`);
    await eventually(
      "it is logged",
      30_000,
      () => one.daemon.logLines(/was deleted; keeping the current/).length > 0,
    );
    expect(warnings()).toBe(3);
    expect(await one.kernel()).toBe(before);
    expect(one.subnetText()).toBe(subnet);
    expect((await ping.stop()).lost).toEqual([]);
    expect((await one.http("/readyz")).status).toBe(200);
  },
  120_000,
);
