/** Fills an etcd with the leases of many imaginary vxlan nodes. */

import type { LabEtcd } from "../../src/lab/etcd.ts";

export interface LeaseSet {
  /** The etcd prefix, with the network configuration beside the leases. */
  readonly prefix: string;
  readonly peers: readonly Peer[];
}

export interface Peer {
  readonly key: string;
  readonly subnet: string;
  readonly publicAddress: string;
}

export interface LoadOptions {
  readonly prefix: string;
  readonly count: number;
  readonly enableNftables: boolean;
}

/** Writes the network configuration and `count` leases, each under an etcd lease of its own. */
export async function loadLeases(etcd: LabEtcd, options: LoadOptions): Promise<LeaseSet> {
  const { prefix, count } = options;
  const config = {
    Network: "10.0.0.0/8",
    SubnetLen: 24,
    EnableNFTables: options.enableNftables,
    Backend: { Type: "vxlan" },
  };
  await etcd.put(`${prefix}/config`, JSON.stringify(config));
  const peers = Array.from({ length: count }, (_, index) => peerAt(index, prefix));
  let next = 0;
  const worker = async () => {
    for (let index = next++; index < count; index = next++) {
      const peer = peers[index] as Peer;
      const { ID } = await etcd.call("lease/grant", { TTL: "86400" }) as { ID: string };
      await etcd.put(peer.key, leaseValue(peer, macAt(index)), ID);
    }
  };
  await Promise.all(Array.from({ length: CONCURRENT_CALLS }, worker));
  return { prefix, peers };
}

/** Removes the leases that the measured hosts left. */
export async function removeOthers(etcd: LabEtcd, { prefix, peers }: LeaseSet): Promise<void> {
  const known = new Set(peers.map((peer) => peer.key));
  for (const { key } of await etcd.list(`${prefix}/subnets/`)) {
    if (!known.has(key)) await etcd.delete(key);
  }
}

/** Gives a peer another VTEP MAC; its etcd lease stays attached. */
export async function changeMac(etcd: LabEtcd, peer: Peer, mac: string): Promise<void> {
  await etcd.call("kv/put", {
    key: encode(peer.key),
    value: encode(leaseValue(peer, mac)),
    ignore_lease: true,
  });
}

/** A locally administered address that tells the peer and how often it has changed. */
export function macAt(index: number, generation = 0): string {
  const bytes = [0x02, generation, 0, index >> 16, index >> 8, index];
  return bytes.map((byte) => (byte & 0xff).toString(16).padStart(2, "0")).join(":");
}

const CONCURRENT_CALLS = 16;

/**
 * Spread over the network rather than one after the other: Go flannel looks for a free subnet from
 * the first one on, and would pay for a dense start of the range that no real cluster has.
 */
function peerAt(index: number, prefix: string): Peer {
  const slot = 16 + (index * 6) % 65_000;
  const subnet = `10.${slot >> 8}.${slot & 0xff}.0`;
  return {
    key: `${prefix}/subnets/${subnet}-24`,
    subnet: `${subnet}/24`,
    publicAddress: `172.16.${index >> 8}.${index & 0xff}`,
  };
}

/** The lease's value as a vxlan node writes it. */
function leaseValue(peer: Peer, vtepMac: string): string {
  return JSON.stringify({
    PublicIP: peer.publicAddress,
    PublicIPv6: null,
    BackendType: "vxlan",
    BackendData: { VNI: 1, VtepMAC: vtepMac },
  });
}

function encode(text: string): string {
  return new TextEncoder().encode(text).toBase64();
}
