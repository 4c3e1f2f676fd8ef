/** What tells this running host, and this network namespace of it, from every other one. */

import { createHash } from "node:crypto";
import { readFile, stat } from "node:fs/promises";

const MACHINE_ID = "/etc/machine-id"; // machine-id(5)
const BOOT_ID = "/proc/sys/kernel/random/boot_id"; // random(4)
const NETWORK_NAMESPACE = "/proc/self/ns/net"; // namespaces(7)

/**
 * A hash, equal for two processes exactly if they run in one network namespace of one boot of one
 * machine. Machines cloned with one machine-id differ in their boot id; namespaces in their inode.
 * The machine-id is confidential (machine-id(5)), so it leaves the host as part of a hash only.
 */
export async function nodeIdentity(): Promise<string> {
  const texts = await Promise.all(
    [MACHINE_ID, BOOT_ID].map((path) => readFile(path, "utf8").catch(() => "")),
  );
  const { dev, ino } = await stat(NETWORK_NAMESPACE, { bigint: true });
  const parts = ["flannel live session", ...texts.map((text) => text.trim()), `${dev}:${ino}`];
  return createHash("sha256").update(parts.join("\n")).digest("hex").slice(0, 32);
}
