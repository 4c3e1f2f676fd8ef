/** Packets through a host with the rules: which are masqueraded and which are forwarded. */

import { expect, test } from "bun:test";
import type { Prefix } from "../../src/addr/prefix.ts";
import type { FirewallMode } from "../../src/firewall/firewall.ts";
import { NETWORK4, NETWORK6, rulesFor, SUBNET4, SUBNET6 } from "../unit/firewall/fixtures.ts";
import { Namespace } from "../support/network_namespace.ts";
import { Driver } from "./firewall_support.ts";

/**
 * A workload, its host, and the outside with another node's workload, in a row: workload
 * (10.5.72.2) — host — world (192.0.2.9, and 10.5.99.2 as the other node's workload). Only the host
 * has routes to addresses that are not on its links, and it drops packets that no rule accepts.
 */
async function network(): Promise<{ host: Namespace; workload: Namespace; world: Namespace }> {
  const [host, workload, world] = [
    await Namespace.create(),
    await Namespace.create(),
    await Namespace.create(),
  ];
  await host.sh(`
ip link add w type veth peer name eth0 netns ${workload.name}
ip link add x type veth peer name eth0 netns ${world.name}
ip addr add 10.5.72.1/24 dev w; ip addr add 2001:cafe:42:1::1/64 dev w nodad
ip addr add 192.0.2.1/24 dev x; ip addr add 2001:db8::1/64 dev x nodad
ip link set w up; ip link set x up
ip route add 10.5.99.0/24 via 192.0.2.9; ip route add 2001:cafe:42:99::/64 via 2001:db8::9
sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1
iptables -P FORWARD DROP; ip6tables -P FORWARD DROP`);
  await workload.sh(`
ip addr add 10.5.72.2/24 dev eth0; ip addr add 2001:cafe:42:1::2/64 dev eth0 nodad
ip link set eth0 up; ip route add default via 10.5.72.1
ip route add default via 2001:cafe:42:1::1`);
  await world.sh(`
ip addr add 192.0.2.9/24 dev eth0; ip addr add 2001:db8::9/64 dev eth0 nodad
ip addr add 10.5.99.2/32 dev lo; ip addr add 2001:cafe:42:99::2/128 dev lo nodad
ip link set eth0 up
ip route add 10.5.72.0/24 via 192.0.2.1; ip route add 2001:cafe:42:1::/64 via 2001:db8::1`);
  return { host, workload, world };
}

/** The source address with which a connection from `from` arrives at an address of `to`. */
async function sourceSeen(
  { from, to, address, source }: {
    from: Namespace;
    to: Namespace;
    address: string;
    source?: string;
  },
): Promise<string> {
  const output = await from.sh(
    `python3 -c '${EXCHANGE}' ${to.name} ${from.name} ${address} "${source ?? ""}"`,
  );
  return output.trim();
}

/**
 * A socket stays in the namespace in which it was created, so one process has both ends, and
 * nothing is sent before the receiver exists. Prints "nothing" if no packet arrives within 2 s of
 * the last one.
 */
const EXCHANGE = `
import ctypes, os, select, socket, sys
CLONE_NEWNET = 0x40000000  # linux/sched.h
to, sender, address, source = sys.argv[1:]
def socket_in(namespace):
    ctypes.CDLL(None).setns(os.open("/run/netns/" + namespace, os.O_RDONLY), CLONE_NEWNET)
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    return socket.socket(family, socket.SOCK_DGRAM)
receiver = socket_in(to)
receiver.bind(("", 7777))
s = socket_in(sender)
if source: s.bind((source, 0))
waits = [0.1] * 10 + [2]
for wait in waits:
    if wait < 1: s.sendto(b"x", (address, 7777))
    if select.select([receiver], [], [], wait)[0]:
        print(receiver.recvfrom(9)[1][0])
        break
else:
    print("nothing")
`;

const CASES: [FirewallMode, string][] = [["iptables", "IPv4"], ["iptables", "IPv6"], [
  "nftables",
  "IPv4",
], ["nftables", "IPv6"]];

test.each(CASES)("%s masquerades and forwards %s", async (mode, family) => {
  const { host, workload, world } = await network();
  await using _host = host, _workload = workload, _world = world;
  const six = family === "IPv6";
  const [worldAddress, remote, own, hostAddress] = six
    ? ["2001:db8::9", "2001:cafe:42:99::2", "2001:cafe:42:1::2", "2001:db8::1"]
    : ["192.0.2.9", "10.5.99.2", "10.5.72.2", "192.0.2.1"];
  const out = { from: workload, to: world };
  expect(await sourceSeen({ ...out, address: worldAddress })).toBe("nothing");

  const families = {
    4: { network: NETWORK4 as Prefix, subnet: SUBNET4 },
    6: { network: NETWORK6 as Prefix, subnet: SUBNET6 },
  };
  await using driver = await Driver.start(host, { mode }, rulesFor({ families }));
  // An accept in our table does not override a drop in another one.
  if (mode === "nftables") {
    expect(await sourceSeen({ ...out, address: worldAddress })).toBe("nothing");
    await host.sh("iptables -P FORWARD ACCEPT; ip6tables -P FORWARD ACCEPT");
  }
  expect(await sourceSeen({ ...out, address: worldAddress })).toBe(hostAddress);
  expect(await sourceSeen({ ...out, address: remote })).toBe(own);
  // From outside directly to a workload, which sees the client's address.
  const inward = { from: world, to: workload, address: own };
  expect(await sourceSeen({ ...inward, source: worldAddress })).toBe(worldAddress);
  // From the host itself, with an address to which the other nodes cannot reply.
  const fromHost = { from: host, to: world, address: remote };
  expect(await sourceSeen({ ...fromHost, source: six ? "2001:db8::1" : "192.0.2.1" }))
    .toBe(hostAddress);

  await driver.set(rulesFor({ families, ipMasq: false }));
  expect(await sourceSeen({ ...out, address: worldAddress })).toBe(own);
}, 120_000);
