/** Fills an etcd with the leases of many imaginary nodes. */

import type { LabEtcd } from "../../src/lab/lab_etcd.ts";
import { mapParallel } from "../../src/lab/map_parallel.ts";

export interface LeaseSet {
  /** The etcd prefix, which holds the network configuration and the leases. */
  readonly prefix: string;
  readonly peers: readonly Peer[];
}

export interface Peer {
  readonly key: string;
  readonly subnet: string;
  readonly publicAddress: string;
  /** The etcd lease to which the key is attached. */
  readonly etcdLease: string;
}

export type BenchBackend = "vxlan" | "wireguard" | "ipsec";

export interface LoadOptions {
  readonly prefix: string;
  readonly count: number;
  readonly enableNftables: boolean;
  readonly backend: BenchBackend;
}

/** Writes the network configuration and `count` leases, each under an etcd lease of its own. */
export async function loadLeases(etcd: LabEtcd, options: LoadOptions): Promise<LeaseSet> {
  const { prefix, count, backend } = options;
  const config = {
    Network: "10.0.0.0/8",
    SubnetLen: 24,
    EnableNFTables: options.enableNftables,
    Backend: { Type: backend, ...(backend === "ipsec" && { PSK: "0123456789abcdef".repeat(6) }) },
  };
  await etcd.put(`${prefix}/config`, JSON.stringify(config));
  const indices = Array.from({ length: count }, (_, index) => index);
  const peers = await mapParallel(
    indices,
    CONCURRENT_CALLS,
    async (index) => ({ ...peerAt(index, prefix), etcdLease: await grantLease(etcd) }),
  );
  await putLeases(etcd, [...peers.entries()], (index) => backendData(backend, index));
  return { prefix, peers };
}

/** A node that is not among the `count` of the set; `number` counts such nodes from 0. */
export async function addPeer(
  etcd: LabEtcd,
  { prefix, peers }: LeaseSet,
  { backend, number }: { readonly backend: BenchBackend; readonly number: number },
): Promise<void> {
  const index = peers.length + number;
  const peer = { ...peerAt(index, prefix), etcdLease: await grantLease(etcd) };
  await etcd.put(peer.key, leaseValue(peer, backendData(backend, index)), peer.etcdLease);
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
    value: encode(leaseValue(peer, vxlanData(mac))),
    ignore_lease: true,
  });
}

/** Gives these peers other VTEP MACs, or their leases back, in as few revisions as etcd allows. */
export async function putPeers(
  etcd: LabEtcd,
  peers: readonly (readonly [index: number, peer: Peer])[],
  generation: number,
): Promise<void> {
  await putLeases(etcd, peers, (index) => vxlanData(macAt(index, generation)));
}

/** Deletes the leases of these peers, in as few revisions as etcd allows. */
export async function deletePeers(etcd: LabEtcd, peers: readonly Peer[]): Promise<void> {
  await inTransactions(etcd, peers, ({ key }) => ({
    request_delete_range: { key: encode(key) },
  }));
}

async function putLeases(
  etcd: LabEtcd,
  peers: readonly (readonly [index: number, peer: Peer])[],
  dataAt: (index: number) => BackendData,
): Promise<void> {
  await inTransactions(etcd, peers, ([index, peer]) => ({
    request_put: {
      key: encode(peer.key),
      value: encode(leaseValue(peer, dataAt(index))),
      lease: peer.etcdLease,
    },
  }));
}

async function inTransactions<T>(
  etcd: LabEtcd,
  items: readonly T[],
  operation: (item: T) => object,
): Promise<void> {
  const parts = Array.from(
    { length: Math.ceil(items.length / TRANSACTION_OPERATIONS) },
    (_, part) => items.slice(part * TRANSACTION_OPERATIONS, (part + 1) * TRANSACTION_OPERATIONS),
  );
  await mapParallel(
    parts,
    CONCURRENT_CALLS,
    (part) => etcd.call("kv/txn", { success: part.map(operation) }),
  );
}

/** etcd's default of `--max-txn-ops`. */
const TRANSACTION_OPERATIONS = 128;

/** A locally administered address made of the peer's index and how often it has changed. */
export function macAt(index: number, generation = 0): string {
  const bytes = [0x02, generation, 0, index >> 16, index >> 8, index];
  return bytes.map((byte) => (byte & 0xff).toString(16).padStart(2, "0")).join(":");
}

const CONCURRENT_CALLS = 32;

/**
 * Spread over the network rather than one after the other: Go flannel looks for a free subnet from
 * the first one on, and would pay for a dense start of the range that no real cluster has.
 */
function peerAt(index: number, prefix: string): Omit<Peer, "etcdLease"> {
  // 7 and 65 000 have no common factor, so 65 000 peers have subnets of their own.
  const slot = 16 + (index * 7) % 65_000;
  const subnet = `10.${slot >> 8}.${slot & 0xff}.0`;
  return {
    key: `${prefix}/subnets/${subnet}-24`,
    subnet: `${subnet}/24`,
    publicAddress: `172.16.${index >> 8}.${index & 0xff}`,
  };
}

/** Returns the ID of a lease of a day, as each node has. */
async function grantLease(etcd: LabEtcd): Promise<string> {
  return (await etcd.call("lease/grant", { TTL: "86400" }) as { ID: string }).ID;
}

/** What a node of this backend advertises. */
interface BackendData {
  readonly BackendType: string;
  readonly BackendData?: unknown;
}

function backendData(backend: BenchBackend, index: number): BackendData {
  switch (backend) {
    case "vxlan":
      return vxlanData(macAt(index));
    case "wireguard":
      return wireguardData(index);
    case "ipsec":
      return { BackendType: "ipsec" };
  }
}

function vxlanData(vtepMac: string): BackendData {
  return { BackendType: "vxlan", BackendData: { VNI: 1, VtepMAC: vtepMac } };
}

/** Any 32 bytes are a public key; these differ for each peer. */
function wireguardData(index: number): BackendData {
  const key = new Uint8Array(32).fill(9);
  new DataView(key.buffer).setUint32(0, index);
  return { BackendType: "wireguard", BackendData: { PublicKey: key.toBase64(), Port: 51820 } };
}

/** The lease's value as the node writes it. */
function leaseValue(peer: Pick<Peer, "publicAddress">, data: BackendData): string {
  return JSON.stringify({ PublicIP: peer.publicAddress, PublicIPv6: null, ...data });
}

function encode(text: string): string {
  return new TextEncoder().encode(text).toBase64();
}
