/** Machines on which flanneld runs through its systemd units, with the datastore on the first. */

import { readFileSync } from "node:fs";
import { join } from "node:path";
import type { Family } from "../../../src/addr/ip.ts";
import { attachWorkloads, workloadAddresses } from "../../../src/lab/workload.ts";
import { parseSubnetFile, type SubnetFile } from "../../../src/subnet/subnet_file.ts";
import { FLANNELD } from "../host.ts";
import { expectPings } from "../mesh.ts";
import { PingStream } from "../ping_stream.ts";
import type { Machine } from "./machine.ts";
import { type MachineFile, Machines } from "./machines.ts";

const UNITS = new URL("../../../deploy/systemd/", import.meta.url).pathname;
const DATASTORE = "192.168.56.11";
/** What the daemons join with. They wait for it. */
export const JOIN_FILE = "/etc/flanneld/join";

/** The executable and its units, where the administrator of a host would put them. */
export const FLANNEL_FILES: readonly MachineFile[] = [
  { path: "/usr/local/bin/flanneld", content: { copyOf: FLANNELD }, mode: 0o755 },
  { path: "/etc/systemd/system/flanneld.service", content: deployed("flanneld.service") },
  {
    path: "/etc/systemd/system/flannel-datastore.service",
    content: deployed("flannel-datastore.service"),
  },
  {
    path: "/etc/sysctl.d/60-flannel.conf",
    content: "net.ipv4.ip_forward=1\nnet.ipv6.conf.all.forwarding=1\n",
  },
  {
    path: "/etc/flanneld/flanneld.env",
    content: `FLANNELD_JOIN_FILE=${JOIN_FILE}\nFLANNELD_IFACE=eth1\n` +
      "FLANNELD_IP_MASQ=true\n",
  },
  {
    path: "/etc/flanneld/datastore.env",
    content: `FLANNEL_DATASTORE_FLAGS=--listen ${DATASTORE} ` +
      "--net-config-path /etc/flanneld/net-conf.json\n",
  },
];

/** The text of a file of deploy/systemd. */
export function deployed(name: string): string {
  return readFileSync(join(UNITS, name), "utf8");
}

/** Starts the datastore with this network configuration and then flanneld on all machines. */
export async function startNetwork(machines: Machines, config: object): Promise<void> {
  const first = machines.at(1);
  await first.write("/etc/flanneld/net-conf.json", JSON.stringify(config));
  await first.run("systemctl start flannel-datastore");
  const target = await joinTarget(first);
  await Promise.all(machines.all.map(async (machine) => {
    await machine.write(JOIN_FILE, target);
    await machine.run("systemctl start flanneld");
  }));
  await attachAll(machines);
}

/** The last word of the command that makes a node join the datastore of this machine. */
export async function joinTarget(machine: Machine): Promise<string> {
  const command = await machine.run("flanneld datastore token");
  const [, target] = /--join (\S+)/.exec(command) ?? [];
  if (target === undefined) throw new Error(`flanneld datastore token printed: ${command}`);
  return target;
}

/** Stops what `startNetwork` has started and removes everything that it leaves behind. */
export async function removeNetwork(machines: Machines): Promise<void> {
  await Promise.all(machines.all.map((machine) => machine.run(REMOVE)));
  await machines.at(1).run("systemctl stop flannel-datastore; rm -rf /var/lib/private/flannel");
}

/** Attaches a workload to every machine, as its subnet file specifies. */
export async function attachAll(machines: Machines): Promise<void> {
  const hosts = await Promise.all(machines.all.map(async (machine) => ({
    host: machine.place,
    network: await subnetOf(machine),
  })));
  await attachWorkloads(hosts);
}

export async function subnetOf(machine: Machine): Promise<SubnetFile> {
  return parseSubnetFile(await machine.run("cat /run/flannel/subnet.env"));
}

/** Pings every workload from every other one. Throws with what the machines have, if one fails. */
export async function expectMachineMesh(machines: Machines): Promise<void> {
  const ends = await Promise.all(machines.all.map(async (machine) => ({
    name: machine.name,
    workloadNamespace: machine.place.workloadNamespace,
    network: await subnetOf(machine),
  })));
  try {
    await expectPings(ends);
  } catch (error) {
    const states = await Promise.all(
      machines.all.map(async (machine) =>
        `---- ${machine.name}\n${await machine.run(NETWORK_STATE)}`
      ),
    );
    throw new Error(`${(error as Error).message}\n${states.join("\n")}`);
  }
}

/** Starts a ping between the workloads of two machines. */
export async function pingWorkload(
  from: Machine,
  to: Machine,
  family: Family = 4,
): Promise<PingStream> {
  const address = workloadAddresses(await subnetOf(to))[family];
  if (address === undefined) throw new Error(`${to.name} has no IPv${family} subnet`);
  const logFile = from.file(`ping-${to.name}-${crypto.randomUUID()}.log`);
  return new PingStream(from.place.workloadNamespace, { address, logFile });
}

/** A property of a unit (systemctl(1), show). */
export async function unitProperty(
  machine: Machine,
  name: string,
  unitName = "flanneld",
): Promise<string> {
  return (await machine.run(`systemctl show --value --property ${name} ${unitName}`)).trim();
}

/** What decides the path of a packet, and what the daemon reports about it. */
const NETWORK_STATE = `ip -4 route show; ip -6 route show; ip neighbour show; ip -d link show
nft list ruleset 2>&1; cat /proc/sys/net/ipv4/conf/*/forwarding | sort | uniq -c
nstat -asz | grep -Ev ' 0 +0.0'
journalctl --unit flanneld --output short-precise --no-pager --lines 40`;

/**
 * docs/running.md, "Stopping, restarting, upgrading". A device of WireGuard in user space
 * disappears by itself when its program ends.
 */
const REMOVE = `systemctl stop flanneld
systemctl kill --kill-whom=all flanneld 2>/dev/null || true
for device in $(ls /sys/class/net | grep '^flannel'); do
  ip link delete "$device" || [ ! -e "/sys/class/net/$device" ]
done
for family in -4 -6; do
  ip $family route flush proto 70
  ip $family xfrm policy flush; ip $family xfrm state flush
done
iptables-save | grep -q FLANNEL && iptables -F && iptables -t nat -F
ip6tables-save | grep -q FLANNEL && ip6tables -F && ip6tables -t nat -F
nft flush ruleset
rm -rf /run/flannel/* /var/lib/flannel/joined.json ${JOIN_FILE}`;
