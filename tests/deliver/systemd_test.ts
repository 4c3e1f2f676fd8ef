/**
 * flanneld on whole machines, through the units of deploy/systemd: three Debian machines, the
 * datastore on the first.
 */

import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import {
  attachAll,
  deployed,
  expectMachineMesh,
  FLANNEL_FILES,
  JOIN_FILE,
  pingWorkload,
  removeNetwork,
  startNetwork,
  subnetOf,
  unitProperty,
} from "../support/machines/flannel_machines.ts";
import type { Machine } from "../support/machines/machine.ts";
import { Machines } from "../support/machines/machines.ts";
import { DUAL, IPV4 } from "../support/networks.ts";
import { eventually } from "../support/wait.ts";

const UNITS = "/etc/systemd/system";
const READY_MS = 60_000;
/** Both families; routes of the external interface and a device. */
const NETWORK = { ...DUAL, Backend: { Type: "vxlan", DirectRouting: true } };

let machines: Machines;

beforeAll(async () => {
  machines = await Machines.create({ count: 3, files: FLANNEL_FILES });
  await machines.boot();
}, 180_000);

afterAll(async () => {
  await machines?.[Symbol.asyncDispose]();
}, 60_000);

test("the units are valid, and expose little", async () => {
  const one = machines.at(1);
  expect(await one.run("systemd-analyze verify flanneld.service flannel-datastore.service 2>&1"))
    .toBe("");
  expect(await exposure(one, "flanneld")).toBeLessThanOrEqual(2.0);
  expect(await exposure(one, "flannel-datastore")).toBeLessThanOrEqual(1.2);
}, 60_000);

test(
  "a unit is started when the network is ready, and its status says what it waits for",
  async () => {
    const two = machines.at(2);
    await two.run("systemctl start --no-block flanneld");
    await eventually("flanneld names the file it waits for", READY_MS, async () => {
      return (await unitProperty(two, "StatusText")).includes(JOIN_FILE);
    });
    expect(await unitProperty(two, "ActiveState")).toBe("activating");
    await startNetwork(machines, NETWORK);
    for (const machine of machines.all) {
      expect(await unitProperty(machine, "ActiveState")).toBe("active");
      const { subnets } = await subnetOf(machine);
      expect(await unitProperty(machine, "StatusText")).toContain("2 peers");
      expect(Object.keys(subnets)).toEqual(["4", "6"]);
      expect(await warnings(machine)).toEqual([]);
      // The sandbox of the unit allows the socket.
      const [status] = await eventually("flanneld status says so, too", READY_MS, async () => {
        const found = JSON.parse(await machine.run("flanneld status --json || true"));
        return found.length > 0 ? found : undefined;
      });
      expect(status).toMatchObject({
        ready: true,
        subnetFile: "/run/flannel/subnet.env",
        store: { kind: "datastore" },
        peers: { tunnel: 0, direct: 2 },
      });
    }
    await expectMachineMesh(machines);
  },
  120_000,
);

test("a restart loses no packet", async () => {
  const [one, two] = [machines.at(1), machines.at(2)];
  for (const family of [4, 6] as const) {
    const ping = await pingWorkload(two, one, family);
    await Promise.all([one, two].map((machine) => machine.run("systemctl restart flanneld")));
    expect((await ping.stop()).lost).toEqual([]);
  }
}, 120_000);

test("the watchdog replaces a process that hangs, and no packet is lost", async () => {
  const three = machines.at(3);
  const short = "[Service]\nWatchdogSec=2\nTimeoutAbortSec=1\n";
  await three.write(`${UNITS}/flanneld.service.d/watchdog.conf`, short);
  await three.run("systemctl daemon-reload && systemctl restart flanneld");
  const ping = await pingWorkload(machines.at(1), three);
  const stopped = await unitProperty(three, "MainPID");
  await three.run(`kill -STOP ${stopped}`);
  await eventually("another process is ready", READY_MS, async () => {
    const state = await unitProperty(three, "ActiveState");
    return state === "active" && await unitProperty(three, "MainPID") !== stopped;
  });
  expect(await three.journal("flanneld")).toContain("Watchdog timeout");
  expect((await ping.stop()).lost).toEqual([]);
  await three.run(`rm -r ${UNITS}/flanneld.service.d && systemctl daemon-reload`);
}, 120_000);

test(
  "a machine that boots is back in the network by itself, also the one of the datastore",
  async () => {
    const [one, two] = [machines.at(1), machines.at(2)];
    await one.run("systemctl enable --quiet flanneld flannel-datastore");
    await two.run("systemctl enable --quiet flanneld");
    const subnets = await Promise.all([one, two].map(subnetOf));
    await Promise.all([one.cutPower(), two.shutDown()]);
    await Promise.all([one.boot(), two.boot()]);
    for (const machine of [one, two]) {
      expect(await unitProperty(machine, "ActiveState")).toBe("active");
    }
    await attachAll(machines);
    await expectMachineMesh(machines);
    expect(await Promise.all([one, two].map(subnetOf))).toEqual(subnets);
  },
  180_000,
);

test(
  "systemd-networkd leaves our devices alone, which it does not without the drop-in",
  async () => {
    const [two, three] = [machines.at(2), machines.at(3)];
    const directory = "/etc/systemd/network";
    await three.write(`${directory}/10-flannel.network`, deployed("10-flannel.network"));
    await three.write("/etc/systemd/networkd.conf.d/flannel.conf", deployed("networkd.conf"));
    const before = await networkOf(three);
    for (const machine of [two, three]) {
      // As on a host whose administrator has all interfaces configured.
      const others = "[Match]\nName=!lo eth0 eth1\n[Network]\nDHCP=no\n";
      await machine.write(`${directory}/90-others.network`, others);
      await machine.run("systemctl start systemd-networkd");
    }
    await eventually("systemd-networkd has devices of flanneld", READY_MS, async () => {
      return /flannel\.1 .* configured/.test(await two.run(LINKS));
    });
    const links = await three.run(LINKS);
    for (const device of ["flannel\\.1", "flannel-v6\\.1", "cni0"]) {
      expect(links).toMatch(new RegExp(`${device} .* unmanaged`));
    }
    expect(await networkOf(three)).toBe(before);
    for (const machine of [two, three]) {
      await machine.run("systemctl stop systemd-networkd.socket systemd-networkd");
    }
  },
  120_000,
);

test.each(
  [
    { Type: "host-gw", firewall: "nftables", families: [4, 6] },
    { Type: "udp", firewall: "iptables", families: [4] },
    { Type: "wireguard", firewall: "iptables", families: [4, 6] },
  ],
)("$Type runs under the unit, with $firewall", async ({ firewall, families, ...Backend }) => {
  await removeNetwork(machines);
  const network = families.length === 2 ? DUAL : IPV4;
  await startNetwork(machines, { ...network, EnableNFTables: firewall === "nftables", Backend });
  await expectMachineMesh(machines);
}, 120_000);

test("charon runs under the unit", async () => {
  await removeNetwork(machines);
  const one = machines.at(1);
  await startNetwork(machines, { ...IPV4, Backend: { Type: "ipsec", PSK: "f".repeat(96) } });
  const journal = await one.journal("flanneld");
  expect(journal).toContain("using the charon that flanneld has started");
  expect(journal).not.toMatch(/charon.* exited/);
  const sockets = await one.run("ss --no-header --listening --numeric --udp --processes");
  for (const port of [500, 4500]) {
    expect(sockets).toMatch(new RegExp(`0\\.0\\.0\\.0:${port} .*"charon"`));
  }
  const charon = await one.run("pgrep -x charon");
  await one.run("systemctl restart flanneld");
  expect(await one.run("pgrep -x charon")).toBe(charon);
}, 120_000);

describe("a unit that forbids more", () => {
  beforeAll(async () => {
    await removeNetwork(machines);
    await startNetwork(machines, { ...DUAL, Backend: { Type: "vxlan" } });
  }, 120_000);

  test("starts where the kernel's parameters are read-only", async () => {
    await forbid("ReadOnlyPaths=/proc/sys/net");
    await machines.at(3).run("systemctl start flanneld");
    await attachAll(machines);
    await expectMachineMesh(machines);
  }, 60_000);

  test.each([
    ["MemoryDenyWriteExecute=yes", /^E.*executable memory; remove MemoryDenyWriteExecute=yes/m],
    ["CapabilityBoundingSet=\nCapabilityBoundingSet=CAP_NET_ADMIN", /^[EW].*missing CAP_NET_RAW/m],
  ])("with %s, the daemon says so", async (directive, message) => {
    const three = machines.at(3);
    for (const program of ["iptables", "ip6tables"]) {
      await three.run(`update-alternatives --set ${program} /usr/sbin/${program}-legacy`);
    }
    await forbid(directive);
    await three.run("systemctl start --no-block flanneld");
    await eventually(`the journal has ${message}`, READY_MS, async () => {
      return message.test(await three.journal("flanneld"));
    });
  }, 90_000);

  /** The third machine's unit with one more directive; it is stopped, and its devices are gone. */
  async function forbid(directive: string): Promise<void> {
    const three = machines.at(3);
    await three.write(`${UNITS}/flanneld.service.d/forbid.conf`, `[Service]\n${directive}\n`);
    await three.run("systemctl daemon-reload; systemctl stop flanneld");
    await three.run("ip link delete flannel.1 || true; ip link delete flannel-v6.1 || true");
  }
});

/** What `systemd-analyze security` says of a unit: 0 is the least, 10 the most exposed. */
async function exposure(machine: Machine, unit: string): Promise<number> {
  const report = await machine.run(`systemd-analyze security --no-pager ${unit}.service`);
  const [, level] = /Overall exposure level for \S+: ([\d.]+)/.exec(report) ?? [];
  return Number(level);
}

async function warnings(machine: Machine): Promise<string[]> {
  return (await machine.journal("flanneld")).split("\n").filter((line) => /^[WEF]\d/.test(line));
}

const LINKS = "networkctl list --no-legend";

/** The routes, and the addresses of the devices, that flanneld has made. */
async function networkOf(machine: Machine): Promise<string> {
  return await machine.run(
    "ip -4 route show proto 70; ip -6 route show proto 70; " +
      "ip -o address show dev flannel.1; ip -o address show dev flannel-v6.1",
  );
}
