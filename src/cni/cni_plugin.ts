/**
 * The CNI plugin `flannel`: one command of a container runtime. The container is connected by the
 * delegate (`bridge`, unless the configuration says otherwise), with the subnet of this node. See
 * docs/cni.md and the CNI specification, version 1.1.0.
 */

import { assertNever } from "../base/assert_never.ts";
import type { JsonObject } from "../base/json_object.ts";
import { OperatorError } from "../base/operator_error.ts";
import { CNI_CODES, CniError, errorResult } from "./cni_error.ts";
import { CNI_VERSIONS, isCniVersionAtLeast, versionResult } from "./cni_version.ts";
import { type DelegateConfig, delegateConfig } from "./delegate_config.ts";
import { collectGarbage } from "./garbage_collection.ts";
import { parseJsonObject, parsePluginConfig, type PluginConfig } from "./plugin_config.ts";
import {
  parsePluginRequest,
  type PluginEnvironment,
  type PluginRequest,
} from "./plugin_request.ts";
import { type DelegatePorts, type DelegateRun, runDelegate } from "./run_delegate.ts";
import { findSavedConfig, removeSavedConfig, saveConfig } from "./saved_configs.ts";
import { loadSubnetEnvironment } from "./subnet_environment.ts";

export interface PluginPorts extends DelegatePorts {
  readonly environment: PluginEnvironment;
  /** Standard input. Throws `CniError`. */
  readConfig(): Promise<string>;
  /** Standard output. */
  print(text: string): Promise<void>;
  /** The program and its version, for a start by hand. */
  readonly about: string;
}

/** Serves the command in the environment. Returns the exit status. */
export async function runCniPlugin(ports: PluginPorts): Promise<number> {
  const seen: { cniVersion?: string } = {};
  try {
    const output = await serve(ports, seen);
    if (output !== "") await ports.print(output);
    return 0;
  } catch (error) {
    // A runtime understands nothing but JSON, also of a bug.
    if (!(error instanceof OperatorError)) ports.warn(`${(error as Error).stack}\n`);
    await ports.print(`${errorResult(error, seen.cniVersion).trimEnd()}\n`);
    return 1;
  }
}

/** `seen` gets the version of the configuration as soon as it is known. */
async function serve(ports: PluginPorts, seen: { cniVersion?: string }): Promise<string> {
  const request = parsePluginRequest(ports.environment);
  if (request.command === undefined) {
    ports.warn(`${ports.about}\nCNI versions: ${CNI_VERSIONS.join(", ")}\n`);
    return "";
  }
  if (request.command === "VERSION") return `${versionResult()}\n`;
  const config = parsePluginConfig(await ports.readConfig());
  seen.cniVersion = config.cniVersion;
  requireVersionOf(request.command, config);
  const delegate = (run: Pick<DelegateRun, "command" | "config">): Promise<string> =>
    runDelegate({ path: request.path, environment: ports.environment, ...run }, ports);
  switch (request.command) {
    case "ADD":
      return await add(request, config, delegate);
    case "CHECK":
      await check(request, config, delegate);
      return "";
    case "DEL":
      await del(request, { config, delegate, warn: ports.warn });
      return "";
    case "STATUS":
      await delegate({ command: "STATUS", config: statusConfig(config) });
      return "";
    case "GC":
      await collectGarbage({ config, path: request.path, ports });
      return "";
    default:
      return assertNever(request);
  }
}

const FIRST_VERSIONS = { CHECK: "0.4.0", STATUS: "1.1.0", GC: "1.1.0" } as const;

function requireVersionOf(
  command: keyof typeof FIRST_VERSIONS | "ADD" | "DEL",
  config: PluginConfig,
): void {
  if (command === "ADD" || command === "DEL") return;
  const first = FIRST_VERSIONS[command];
  if (isCniVersionAtLeast(config.cniVersion, first)) return;
  throw new CniError(
    CNI_CODES.incompatibleVersion,
    `config version does not allow ${command}: it is ${config.cniVersion}, and must be at least ` +
      first,
  );
}

type Attach = Extract<PluginRequest, { readonly command: "ADD" | "CHECK" | "DEL" }>;
type Delegate = (run: Pick<DelegateRun, "command" | "config">) => Promise<string>;

async function add(
  { containerId, interfaceName }: Attach,
  config: PluginConfig,
  delegate: Delegate,
): Promise<string> {
  const delegated = delegateConfig(config, loadSubnetEnvironment(config.subnetFile));
  // First, so that DEL finds it, however far the delegate gets.
  await saveConfig(config.dataDir, { containerId, interfaceName, config: delegated });
  const output = await delegate({ command: "ADD", config: delegated });
  return versionedResult(output, config);
}

/** The delegate's result as it is; only a missing version is added. */
function versionedResult(output: string, { cniVersion }: PluginConfig): string {
  const result = parseJsonObject(output, "the delegate's result");
  if (typeof result["cniVersion"] === "string" && result["cniVersion"] !== "") return output;
  return JSON.stringify({ ...result, cniVersion }, undefined, 4);
}

async function check(
  { containerId, interfaceName }: Attach,
  config: PluginConfig,
  delegate: Delegate,
): Promise<void> {
  const saved = findSavedConfig(config.dataDir, { containerId, interfaceName });
  if (saved === undefined || saved === "damaged") {
    throw new CniError(
      CNI_CODES.unknownContainer,
      `${config.dataDir}/${containerId} is ${saved ?? "missing"}: this plugin did not add the ` +
        "container, or it is deleted",
    );
  }
  await delegate({ command: "CHECK", config: { ...saved.config, ...runtimeKeys(config) } });
}

/** What the runtime says at each call. */
function runtimeKeys({ givenVersion, runtimeConfig, prevResult }: PluginConfig): JsonObject {
  return {
    ...(givenVersion !== undefined && { cniVersion: givenVersion }),
    ...(runtimeConfig !== undefined && { runtimeConfig }),
    ...(prevResult !== undefined && { prevResult }),
  };
}

/** Without a saved configuration there is nothing to delete: that is success. */
async function del(
  { containerId, interfaceName }: Attach,
  { config, delegate, warn }: {
    readonly config: PluginConfig;
    readonly delegate: Delegate;
    readonly warn: (text: string) => void;
  },
): Promise<void> {
  const saved = findSavedConfig(config.dataDir, { containerId, interfaceName });
  if (saved === undefined) return;
  if (saved === "damaged") {
    // No repetition could succeed, and the container could never be deleted.
    warn(`flannel: ${config.dataDir}/${containerId} is damaged; its address is not released\n`);
  } else {
    await delegate({ command: "DEL", config: saved.config });
  }
  removeSavedConfig(config.dataDir, saved === "damaged" ? containerId : saved.file);
}

/** Throws `CniError` with the code of STATUS. */
function statusConfig(config: PluginConfig): DelegateConfig {
  try {
    return delegateConfig(config, loadSubnetEnvironment(config.subnetFile));
  } catch (error) {
    if (!(error instanceof CniError) || error.code !== CNI_CODES.tryAgainLater) throw error;
    throw new CniError(CNI_CODES.notAvailable, error.message, { cause: error });
  }
}
