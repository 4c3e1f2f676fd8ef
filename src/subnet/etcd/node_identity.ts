/** The identity of this running host and its network namespace among all others. */

import { createHash } from "node:crypto";
import { readFile, stat } from "node:fs/promises";

/** This node, as its session describes it to the others. */
export interface LiveNode {
  /** See `nodeIdentity`. */
  readonly identity: string;
  readonly hostname: string;
  /** Name of the interface that carries the public address. */
  readonly interface: string;
  /** This host's interfaces, to choose another one from. */
  readonly interfaces: readonly SessionInterface[];
}

export interface SessionInterface {
  readonly name: string;
  readonly addresses: readonly string[];
}

/** Where the identity is read. */
export interface IdentityFiles {
  readonly machineId: string;
  readonly bootId: string;
  readonly networkNamespace: string;
}

const FILES: IdentityFiles = {
  machineId: "/etc/machine-id", // machine-id(5)
  bootId: "/proc/sys/kernel/random/boot_id", // random(4)
  networkNamespace: "/proc/self/ns/net", // namespaces(7)
};

/**
 * A hash, equal for two processes exactly if they run in one network namespace of one boot of one
 * machine. Machines cloned with one machine-id differ in their boot id; namespaces in their inode.
 * The machine-id is confidential (machine-id(5)), so it leaves the host as part of a hash only.
 */
export async function nodeIdentity(files: IdentityFiles = FILES): Promise<string> {
  const texts = await Promise.all(
    [files.machineId, files.bootId].map((path) => readFile(path, "utf8").catch(() => "")),
  );
  const { dev, ino } = await stat(files.networkNamespace, { bigint: true });
  const parts = ["flannel live session", ...texts.map((text) => text.trim()), `${dev}:${ino}`];
  return createHash("sha256").update(parts.join("\n")).digest("hex").slice(0, 32);
}
