/**
 * The configuration of a host's WireGuard devices as sorted text, read with `wg(8)`, not with our
 * own netlink code.
 */

import type { Cluster } from "./cluster.ts";
import type { Host } from "./host.ts";

/** Hosts by their public key, to be printed by a name, such as `<h2>`. */
export type KeyNames = ReadonlyMap<string, string>;

/** A line for each device, with its public key, and for each peer. */
export async function wireguardText(host: Host, names: KeyNames = new Map()): Promise<string> {
  const text = await wg(host, "show all dump");
  const lines = text.split("\n").filter(Boolean).map((line) => {
    const [device, key = "", ...fields] = line.split("\t");
    const name = (key: string) => names.get(key) ?? key;
    if (fields.length === 3) {
      const [publicKey = "", port] = fields;
      return `wireguard ${device} key ${name(publicKey)} listen-port ${port}`;
    }
    const [preshared, endpoint, allowedIps = "", , , , keepalive] = fields;
    return `wireguard ${device} peer ${name(key)} endpoint ${endpoint} ` +
      `allowed-ips ${allowedIps.split(",").sort().join()}` +
      (keepalive === "off" ? "" : ` keepalive ${keepalive}`) +
      (preshared === "(none)" ? "" : ` psk ${preshared}`);
  });
  return lines.sort().map((line) => `${line}\n`).join("");
}

/** Runs `wg`, with the host's own /run, where processes in user space have their sockets. */
export function wg(host: Host, command: string): Promise<string> {
  return host.sh(`mount --bind ${host.directory}/run /run\nwg ${command}`);
}

/** The names of the hosts that have a lease. */
export async function keyNames(cluster: Cluster): Promise<KeyNames> {
  const names = new Map<string, string>();
  for (const host of cluster.hosts) {
    const { value } = await cluster.leaseOf(host).catch(() => ({ value: undefined }));
    const key = (value?.BackendData ?? value?.BackendV6Data)?.PublicKey;
    if (key !== undefined) names.set(key, `<${host.name}>`);
  }
  return names;
}
