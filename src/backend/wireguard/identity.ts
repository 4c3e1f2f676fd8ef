/** The key by which the other nodes know this one. */

import { FAMILIES, type Family } from "../../addr/ip.ts";
import { type WireguardKey, ZERO_KEY } from "../../addr/wireguard_key.ts";
import type { BackendHost } from "../../overlay/backend.ts";
import { jsonMember } from "../../overlay/peer_lease.ts";
import { readKeyFile, writeKeyFile } from "./key_file.ts";
import { privateKeyFrom, publicKeyOf } from "./key_pair.ts";

const DEFAULT_KEY_FILE = "/run/flannel/wgkey";

/**
 * The key in the key file. Without a file, the key of one of these devices, unless the stored lease
 * has another one; otherwise a new key. When this returns, the key is in the file. Throws
 * `BackendError` for a file that cannot be used.
 */
export async function choosePrivateKey(
  host: BackendHost,
  devices: readonly string[],
): Promise<WireguardKey> {
  const path = keyFilePath(host);
  const stored = await readKeyFile(path);
  if (stored !== undefined) return stored;
  const kept = await keyOfDevice(host, devices);
  const key = kept ?? privateKeyFrom(host.random(32));
  const written = await writeKeyFile(path, key, Buffer.from(host.random(6)).toString("hex"));
  if (written !== key) {
    host.log.warn(`another process has just created the WireGuard key file ${path}; using its key`);
    return written;
  }
  host.log.info(
    kept === undefined
      ? `created a new WireGuard key in ${path}`
      : `WireGuard key file ${path} was missing; wrote the key of the existing device to it`,
  );
  return key;
}

export function keyFilePath({ env }: Pick<BackendHost, "env">): string {
  // A unit file or a manifest may set it to nothing to mean "not set".
  return env["WIREGUARD_KEY_FILE"] || DEFAULT_KEY_FILE;
}

/** The key of a device of the previous run, if peers still know this node by it. */
async function keyOfDevice(
  { kernel, previousLease }: BackendHost,
  devices: readonly string[],
): Promise<WireguardKey | undefined> {
  const known = FAMILIES.map((family) => publicKeyIn(previousLease?.attributes, family))
    .find((key) => key !== undefined);
  for (const entry of await kernel.dump(["wireguard-device"], new Set(devices))) {
    if (entry.kind !== "wireguard-device" || !devices.includes(entry.link)) continue;
    if (entry.privateKey === ZERO_KEY) continue;
    if (known === undefined || publicKeyOf(entry.privateKey) === known) return entry.privateKey;
  }
  return undefined;
}

function publicKeyIn(
  attributes: NonNullable<BackendHost["previousLease"]>["attributes"] | undefined,
  family: Family,
): unknown {
  return jsonMember(attributes?.backendData[family], "PublicKey");
}
