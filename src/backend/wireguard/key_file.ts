/**
 * The file with this node's private key: one line of base64, as Go flannel and `wg genkey` write
 * it, readable only by its owner. It is written once and never overwritten: if it cannot be used,
 * the user must fix it.
 */

import { constants } from "node:fs";
import { link, mkdir, open, rm, stat } from "node:fs/promises";
import { dirname } from "node:path";
import { parseWireguardKey, type WireguardKey } from "../../addr/wireguard_key.ts";
import { BackendError } from "../../overlay/backend_error.ts";
import { clampedKey } from "./key_pair.ts";

/** A key has 44 characters; a much larger file is something else. */
const MAX_FILE_BYTES = 1024;
const GROUP_AND_OTHERS = 0o077;

/**
 * The key in the file; `undefined` if there is no file. Throws `BackendError` for an unusable one.
 */
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
      `WireGuard key file ${path} is not a regular file; set WIREGUARD_KEY_FILE to a file, or to ` +
        "a path that does not exist yet",
    );
  }
  const octal = (file.mode & 0o777).toString(8);
  if ((file.mode & GROUP_AND_OTHERS) !== 0) {
    throw new BackendError(
      `WireGuard key file ${path} is accessible to other users (mode 0${octal}); if none has ` +
        `read it, run "chmod 0400 ${path}", otherwise delete it to have a new key created`,
    );
  }
  return parseKeyFile(path, file.text);
}

/** The key in a key file's text. Throws `BackendError` without the text, which may hold a key. */
export function parseKeyFile(path: string, text: string): WireguardKey {
  const key = parseWireguardKey(text.trim());
  if (key !== undefined) return clampedKey(key);
  throw new BackendError(
    `WireGuard key file ${path} does not contain a key, which is one line of 44 characters of ` +
      "base64 as wg genkey prints; correct it, or move it away to have a new key created",
  );
}

/**
 * Creates the file, mode 0400, and its parent directories; the file appears with all of its
 * content. `name` makes the name of its temporary file unique. Returns the key that is in the file
 * afterwards: a different one if another process was faster. Throws `BackendError`.
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
  throw cannotWrite(path, new Error("it is a symbolic link to a file that does not exist"));
}

/** Returns whether there was nothing at that path. */
async function placeKey(path: string, key: WireguardKey, temporary: string): Promise<boolean> {
  try {
    await using file = await open(temporary, "wx", 0o400); // O_CREAT | O_EXCL
    await file.writeFile(key);
    await file.sync();
    // rename(2) would replace an existing file.
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
    `cannot write the WireGuard key file ${path}: ${cause.message}; set WIREGUARD_KEY_FILE to ` +
      "another path",
    { cause },
  );
}

interface PrivateFile {
  readonly isFile: boolean;
  readonly mode: number;
  /** Empty if the file is too large for a key. */
  readonly text: string;
}

async function readPrivately(path: string): Promise<PrivateFile> {
  // Opening a device file may have side effects.
  const kind = await stat(path);
  if (!kind.isFile()) return { isFile: false, mode: kind.mode, text: "" };
  // Without O_NONBLOCK, opening a pipe would wait for a writer.
  await using file = await open(path, constants.O_RDONLY | constants.O_NONBLOCK);
  const status = await file.stat();
  const isFile = status.isFile();
  const isReadable = isFile && status.size <= MAX_FILE_BYTES;
  return { isFile, mode: status.mode, text: isReadable ? await file.readFile("latin1") : "" };
}
