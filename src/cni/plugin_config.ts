/** The network configuration of a CNI plugin of the type `flannel`. */

import { jsonLimitProblem } from "../base/json_limits.ts";
import { isJsonObject, type JsonObject } from "../base/json_object.ts";
import { errorMessage } from "../base/operator_error.ts";
import { printableLine, quoted } from "../base/quoting.ts";
import { CNI_CODES, CniError } from "./cni_error.ts";
import { CNI_VERSIONS, OLDEST_CNI_VERSION } from "./cni_version.ts";

export interface PluginConfig {
  readonly name: string;
  /** One of `CNI_VERSIONS`. */
  readonly cniVersion: string;
  /** `cniVersion` as given. */
  readonly givenVersion: string | undefined;
  readonly subnetFile: string;
  /** Directory of the delegates' configurations, one file for each container. */
  readonly dataDir: string;
  readonly delegate: JsonObject;
  readonly ipam: JsonObject;
  readonly runtimeConfig: JsonObject | undefined;
  readonly prevResult: JsonObject | undefined;
  /** For GC: `undefined` if the runtime does not say which attachments are valid. */
  readonly validAttachments: readonly Attachment[] | undefined;
}

/** One interface of one container. */
export interface Attachment {
  readonly containerId: string;
  readonly interfaceName: string;
}

/** GC of a node with many containers is the largest. */
export const MAX_CONFIG_BYTES = 16 * 1024 * 1024;
const LIMITS = { maxBytes: MAX_CONFIG_BYTES, maxDepth: 64 };

export const DEFAULT_SUBNET_FILE = "/run/flannel/subnet.env";
export const DEFAULT_DATA_DIR = "/var/lib/cni/flannel";

/** Throws `CniError`. */
export function parsePluginConfig(text: string): PluginConfig {
  const config = parseJsonObject(text, "the network configuration");
  const name = parseName(config["name"]);
  const givenVersion = optionalText(config, "cniVersion") || undefined;
  return {
    name,
    cniVersion: parseVersion(givenVersion),
    givenVersion,
    subnetFile: optionalText(config, "subnetFile") || DEFAULT_SUBNET_FILE,
    dataDir: optionalText(config, "dataDir") || DEFAULT_DATA_DIR,
    delegate: optionalObject(config, "delegate") ?? {},
    ipam: optionalObject(config, "ipam") ?? {},
    runtimeConfig: optionalObject(config, "runtimeConfig"),
    prevResult: optionalObject(config, "prevResult"),
    validAttachments: parseAttachments(config),
  };
}

/** Throws `CniError` that names the text as `what`. */
export function parseJsonObject(text: string, what: string): JsonObject {
  const problem = jsonLimitProblem(text, LIMITS);
  if (problem !== undefined) throw undecodable(`${what} ${problem}`);
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    throw undecodable(`${what} is not JSON: ${printableLine(errorMessage(error))}`);
  }
  if (!isJsonObject(value)) throw undecodable(`${what} is ${quoted(value)}, not a JSON object`);
  return value;
}

/** Throws `CniError` unless it is a name that the specification allows. */
export function parseName(name: unknown): string {
  if (name === undefined || name === "") {
    throw new CniError(CNI_CODES.invalidConfig, "the network configuration has no name");
  }
  if (typeof name === "string" && isCniName(name)) return name;
  throw new CniError(
    CNI_CODES.invalidConfig,
    `the network's name is ${quoted(name)}; it may have letters, digits, "_", "." and "-"`,
  );
}

/** The characters of names of networks and of container IDs: neither is a path. */
export function isCniName(text: string): boolean {
  return /^[a-zA-Z0-9][a-zA-Z0-9_.-]*$/.test(text);
}

/** Throws `CniError` for a version that is not supported. */
export function parseVersion(given: string | undefined): string {
  const version = given ?? OLDEST_CNI_VERSION;
  if (CNI_VERSIONS.includes(version)) return version;
  throw new CniError(CNI_CODES.incompatibleVersion, "incompatible CNI versions", {
    details: `the configuration has ${quoted(version)}, supported are ${CNI_VERSIONS.join(", ")}`,
  });
}

function parseAttachments(config: JsonObject): readonly Attachment[] | undefined {
  // The second key is that of an early draft of the specification.
  const key = ["cni.dev/valid-attachments", "cni.dev/attachments"].find((one) => one in config);
  if (key === undefined) return undefined;
  const list = config[key] ?? [];
  if (!Array.isArray(list)) throw wrongType(key, list, "a list");
  return list.map((one: unknown) => {
    const { containerID, ifname } = isJsonObject(one) ? one : {};
    if (typeof containerID === "string" && typeof ifname === "string") {
      return { containerId: containerID, interfaceName: ifname };
    }
    throw wrongType(key, one, "a list of objects with containerID and ifname");
  });
}

function optionalText(config: JsonObject, key: string): string | undefined {
  const value = config[key] ?? undefined;
  if (value === undefined || typeof value === "string") return value;
  throw wrongType(key, value, "a string");
}

function optionalObject(config: JsonObject, key: string): JsonObject | undefined {
  const value = config[key] ?? undefined;
  if (value === undefined || isJsonObject(value)) return value;
  throw wrongType(key, value, "an object");
}

function wrongType(key: string, value: unknown, allowed: string): CniError {
  return undecodable(`${key} is ${quoted(value)}; it must be ${allowed}`);
}

function undecodable(message: string): CniError {
  return new CniError(CNI_CODES.decodingFailure, message);
}
