/**
 * The links of a machine, as Vagrant makes them with VirtualBox:
 *
 *     eth0  10.0.2.15/24 on every machine, behind a router of its own, with the default route
 *     eth1  192.168.56.1N/24 and fd00:56::1N/64, on a bridge with the other machines
 *
 * The bridge is in the network namespace of the test, which has the addresses 192.168.56.1 and
 * fd00:56::1 on it: the machines reach what the test serves there.
 */

import { existsSync } from "node:fs";
import { ipBatch, namespaceScript } from "../../../src/lab/namespace.ts";
import { batchHere } from "../../../src/lab/topology.ts";

const BRIDGE = "machines0";

/** The addresses of the test on the private network. */
export const TEST_ADDRESSES = { 4: "192.168.56.1", 6: "fd00:56::1" } as const;

/** A machine's place in the network; `number` is 1 to 9. */
export interface MachinePlace {
  readonly number: number;
  readonly namespace: string;
  readonly routerNamespace: string;
  /** For a workload, as a container on the machine has one. */
  readonly workloadNamespace: string;
}

/** The addresses of a machine on the private network. */
export function privateAddresses(number: number): { readonly 4: string; readonly 6: string } {
  return { 4: `192.168.56.1${number}`, 6: `fd00:56::1${number}` };
}

export async function createBridge(): Promise<void> {
  await ipBatch([
    `link add ${BRIDGE} type bridge stp_state 0 forward_delay 0 mcast_snooping 0`,
    `link set ${BRIDGE} up`,
    `address add ${TEST_ADDRESSES[4]}/24 dev ${BRIDGE}`,
    `address add ${TEST_ADDRESSES[6]}/64 dev ${BRIDGE} nodad`,
  ]);
}

export async function removeBridge(): Promise<void> {
  await ipBatch([`link delete ${BRIDGE}`]);
}

/** Creates the namespaces of a machine, its router and its workload, and the machine's links. */
export async function connectMachine(place: MachinePlace): Promise<void> {
  const { number, namespace, routerNamespace, workloadNamespace } = place;
  await ipBatch([
    `netns add ${namespace}`,
    `netns add ${routerNamespace}`,
    `netns add ${workloadNamespace}`,
    `link add eth0 netns ${namespace} type veth peer name lan netns ${routerNamespace}`,
    // A machine that boots again has the same MAC address, which its neighbours know.
    `link add eth1 netns ${namespace} address 52:54:00:56:00:1${number} ` +
    `type veth peer name machine${number}`,
    `link set machine${number} master ${BRIDGE} up`,
  ]);
  await namespaceScript(
    routerNamespace,
    batchHere(["address add 10.0.2.2/24 dev lan", "link set lan up"]),
  );
  await namespaceScript(namespace, batchHere(machineLines(number)));
}

/** Removes what `connectMachine` has made, if anything. */
export async function disconnectMachine(place: MachinePlace): Promise<void> {
  const port = `machine${place.number}`;
  const namespaces = [place.namespace, place.routerNamespace, place.workloadNamespace]
    .filter((name) => existsSync(`/run/netns/${name}`));
  await ipBatch([
    // The kernel removes the links of a namespace some time after it, and this name is used again.
    ...(existsSync(`/sys/class/net/${port}`) ? [`link delete ${port}`] : []),
    ...namespaces.map((name) => `netns delete ${name}`),
  ]);
}

function machineLines(number: number): string[] {
  const { 4: ipv4, 6: ipv6 } = privateAddresses(number);
  return [
    "link set lo up",
    "address add 10.0.2.15/24 dev eth0",
    "link set eth0 up",
    "route add default via 10.0.2.2",
    `address add ${ipv4}/24 dev eth1`,
    `address add ${ipv6}/64 dev eth1 nodad`,
    "link set eth1 up",
  ];
}
