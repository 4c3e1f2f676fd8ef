/**
 * The file that holds this node's private key: one line of base64, as Go flannel and `wg genkey`
 * write it, readable by its owner alone. It is written once and never overwritten: whatever is there
 * and cannot be used is for the user to mend.
 */

import { constants } from "node:fs";
import { link, mkdir, open, rm, stat } from "node:fs/promises";
import { dirname } from "node:path";
import { parseWireguardKey, type WireguardKey } from "../../addr/wireguard_key.ts";
import { BackendError } from "../../overlay/backend_error.ts";
import { clampedKey } from "./key_pair.ts";

/** A key has 44 characters; a file much larger than that is something else. */
const MAX_FILE_BYTES = 1024;
const OTHERS = 0o077; // What a group and all others may do.

/** The key in the file, `undefined` if there is no file. Throws `BackendError` for an unusable one. */
export async function readKeyFile(path: string): Promise<WireguardKey | undefined> {
  const file = await readPrivately(path).catch((error: NodeJS.ErrnoException) => {
    if (error.code === "ENOENT") return undefined;
    throw new BackendError(`cannot read the WireGuard key file ${path}: ${error.message}`, {
      cause: error,
    });
  });
  if (file === undefined) return undefined;
  if (!file.isFile) {
    throw new BackendError(
      `the WireGuard key file ${path} is no file; let WIREGUARD_KEY_FILE name one, or a path where ` +
        "there is nothing yet",
    );
  }
  if ((file.mode & OTHERS) !== 0) {
    throw new BackendError(
      `the WireGuard key file ${path} is open to others (mode 0${
        (file.mode & 0o777).toString(8)
      }); ` +
        `if no other user has read it, close it: chmod 0400 ${path}; else delete it, and a new key ` +
        "is made",
    );
  }
  return parseKeyFile(path, file.text);
}

/** The key in a key file's text. Throws `BackendError`, without the text: most of it may be a key. */
export function parseKeyFile(path: string, text: string): WireguardKey {
  const key = parseWireguardKey(text.trim());
  if (key !== undefined) return clampedKey(key);
  throw new BackendError(
    `the WireGuard key file ${path} holds no key; it must be one line of 44 characters of base64, ` +
      "as wg genkey prints; mend it, or move it away to have a new key made",
  );
}

/**
 * Makes the file, mode 0400, and its parent directories: it is there in full or not at all. `name`
 * tells its temporary file from others. Gives the key that is in the file then: another one, if
 * somebody else was quicker. Throws `BackendError`.
 */
export async function writeKeyFile(
  path: string,
  key: WireguardKey,
  name: string,
): Promise<WireguardKey> {
  try {
    await mkdir(dirname(path), { recursive: true });
    if (await placeKey(path, key, `${path}.${name}.tmp`)) return key;
  } catch (error) {
    throw cannotWrite(path, error as Error);
  }
  const found = await readKeyFile(path);
  if (found !== undefined) return found;
  throw cannotWrite(path, new Error("it is a symbolic link to where there is nothing"));
}

/** Whether there was nothing at that path. */
async function placeKey(path: string, key: WireguardKey, temporary: string): Promise<boolean> {
  try {
    await using file = await open(temporary, "wx", 0o400); // O_CREAT | O_EXCL
    await file.writeFile(key);
    await file.sync();
    // rename(2) would replace what is there.
    return await link(temporary, path).then(() => true, (error: NodeJS.ErrnoException) => {
      if (error.code !== "EEXIST") throw error;
      return false;
    });
  } finally {
    await rm(temporary, { force: true });
  }
}

function cannotWrite(path: string, cause: Error): BackendError {
  return new BackendError(
    `cannot write the WireGuard key file ${path}: ${cause.message}; WIREGUARD_KEY_FILE names ` +
      "another place",
    { cause },
  );
}

interface PrivateFile {
  readonly isFile: boolean;
  readonly mode: number;
  /** Empty for something that is too large to be a key. */
  readonly text: string;
}

async function readPrivately(path: string): Promise<PrivateFile> {
  // Opening a device may have side effects.
  const kind = await stat(path);
  if (!kind.isFile()) return { isFile: false, mode: kind.mode, text: "" };
  // Without O_NONBLOCK, opening a pipe would wait for somebody to write to it.
  await using file = await open(path, constants.O_RDONLY | constants.O_NONBLOCK);
  const status = await file.stat();
  const isFile = status.isFile();
  const isReadable = isFile && status.size <= MAX_FILE_BYTES;
  return { isFile, mode: status.mode, text: isReadable ? await file.readFile("latin1") : "" };
}
