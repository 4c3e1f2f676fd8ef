/**
 * The configurations of the delegates, one file for each attachment: DEL gets the one that ADD has
 * used, whatever the subnet file says by then. Go's plugin reads and writes the same files, named
 * after the container; only a second interface of one container, which Go's plugin would save over
 * the first, has a file of its own.
 */

import { readdirSync, rmSync } from "node:fs";
import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { isJsonObject, type JsonObject } from "../base/json_object.ts";
import { errorMessage } from "../base/operator_error.ts";
import { printableLine } from "../base/quoting.ts";
import {
  createFile,
  readRegularText,
  RegularFileError,
  replaceFile,
} from "../base/regular_file.ts";
import { CNI_CODES, CniError } from "./cni_error.ts";
import { type DelegateConfig, delegateConfigText } from "./delegate_config.ts";
import { type Attachment, MAX_CONFIG_BYTES } from "./plugin_config.ts";

export interface SavedConfig {
  /** Name of the file. */
  readonly file: string;
  readonly containerId: string;
  /** `undefined` if Go's plugin has saved it. */
  readonly interfaceName: string | undefined;
  /** The delegate's configuration, without what is only saved. */
  readonly config: JsonObject;
}

/** Not for the delegate: whose configuration it is, which the name of the file does not show. */
const ATTACHMENT_KEY = "flanneld/attachment";

/** Writes the file before the delegate runs, mode 0600. Throws `CniError`. */
export async function saveConfig(
  dataDir: string,
  { containerId, interfaceName, config }: Attachment & { readonly config: DelegateConfig },
): Promise<void> {
  const attachment = { containerID: containerId, ifname: interfaceName };
  const text = delegateConfigText({ ...config, [ATTACHMENT_KEY]: attachment });
  try {
    await mkdir(dataDir, { recursive: true, mode: 0o700 });
    await write(dataDir, { containerId, interfaceName }, text);
  } catch (cause) {
    if (cause instanceof CniError) throw cause;
    const reason = printableLine(errorMessage(cause));
    throw new CniError(
      CNI_CODES.ioFailure,
      `cannot save the configuration for DEL in ${dataDir}: ${reason}`,
      { cause },
    );
  }
}

/** Other interfaces of the container may be added at the same time. */
async function write(dataDir: string, attachment: Attachment, text: string): Promise<void> {
  const options = { mode: 0o600, flush: true };
  const file = earlierFile(dataDir, attachment);
  const usual = join(dataDir, attachment.containerId);
  if (file === undefined && await createFile(usual, text, options)) return;
  const name = file ?? earlierFile(dataDir, attachment) ?? ownFile(attachment);
  await replaceFile(join(dataDir, name), text, options);
}

/** The file of an earlier ADD of this attachment. */
function earlierFile(dataDir: string, attachment: Attachment): string | undefined {
  const saved = findSavedConfig(dataDir, attachment);
  return saved === "damaged" ? attachment.containerId : saved?.file;
}

function ownFile({ containerId, interfaceName }: Attachment): string {
  return `${containerId}.${interfaceName}`;
}

/**
 * The saved configuration of an attachment. `undefined` if there is none; `"damaged"` if the
 * container's file is not an object as JSON with a type. Throws `CniError` if it cannot be read.
 */
export function findSavedConfig(
  dataDir: string,
  attachment: Attachment,
): SavedConfig | "damaged" | undefined {
  const own = loadSavedConfig(dataDir, ownFile(attachment));
  if (own !== undefined && own !== "damaged" && isOf(own, attachment)) return own;
  const first = loadSavedConfig(dataDir, attachment.containerId);
  return first === undefined || first === "damaged" || isOf(first, attachment) ? first : undefined;
}

/** Of a file of Go's plugin, the interface is not known. */
export function isOf(saved: SavedConfig, { containerId, interfaceName }: Attachment): boolean {
  return saved.containerId === containerId &&
    (saved.interfaceName ?? interfaceName) === interfaceName;
}

/** As `findSavedConfig`, by the name of the file. */
export function loadSavedConfig(
  dataDir: string,
  file: string,
): SavedConfig | "damaged" | undefined {
  const path = join(dataDir, file);
  let text: string;
  try {
    text = readRegularText(path, MAX_CONFIG_BYTES);
  } catch (cause) {
    if (isAbsent(cause)) return undefined;
    if (cause instanceof RegularFileError) return "damaged";
    const reason = printableLine(errorMessage(cause));
    throw new CniError(CNI_CODES.ioFailure, `cannot read ${path}: ${reason}`, { cause });
  }
  return parseSavedConfig(text, file) ?? "damaged";
}

function parseSavedConfig(text: string, file: string): SavedConfig | undefined {
  try {
    const { [ATTACHMENT_KEY]: attachment, ...config } = JSON.parse(text) as JsonObject;
    if (typeof config["type"] !== "string") return undefined;
    const { containerID, ifname } = isJsonObject(attachment) ? attachment : {};
    return {
      file,
      containerId: typeof containerID === "string" ? containerID : file,
      interfaceName: typeof ifname === "string" ? ifname : undefined,
      config,
    };
  } catch {
    return undefined;
  }
}

/** Deleting a file that does not exist is success. Throws `CniError`. */
export function removeSavedConfig(dataDir: string, file: string): void {
  const path = join(dataDir, file);
  try {
    rmSync(path, { force: true });
  } catch (cause) {
    const reason = printableLine(errorMessage(cause));
    throw new CniError(CNI_CODES.ioFailure, `cannot remove ${path}: ${reason}`, { cause });
  }
}

/** All saved configurations that can be read. Throws `CniError`. */
export function savedConfigs(dataDir: string): SavedConfig[] {
  let files: string[];
  try {
    files = readdirSync(dataDir).sort();
  } catch (cause) {
    if (isAbsent(cause)) return [];
    const reason = printableLine(errorMessage(cause));
    throw new CniError(CNI_CODES.ioFailure, `cannot read ${dataDir}: ${reason}`, { cause });
  }
  return files.flatMap((file) => {
    const saved = loadSavedConfig(dataDir, file);
    return saved === undefined || saved === "damaged" ? [] : [saved];
  });
}

/** There cannot be a file with a name that is too long. */
function isAbsent(cause: unknown): boolean {
  const { code } = cause as NodeJS.ErrnoException;
  return code === "ENOENT" || code === "ENOTDIR" || code === "ENAMETOOLONG";
}
