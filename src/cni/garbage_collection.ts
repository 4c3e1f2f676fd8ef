/** GC: removes what containers have left that do not exist any more. */

import type { JsonObject } from "../base/json_object.ts";
import { OperatorError } from "../base/operator_error.ts";
import { printableName } from "../base/quoting.ts";
import { CNI_CODES, CniError } from "./cni_error.ts";
import { delegateBase, delegateConfig } from "./delegate_config.ts";
import type { PluginConfig } from "./plugin_config.ts";
import type { PluginEnvironment } from "./plugin_request.ts";
import { type DelegatePorts, runDelegate } from "./run_delegate.ts";
import { isOf, removeSavedConfig, type SavedConfig, savedConfigs } from "./saved_configs.ts";
import { loadSubnetEnvironment } from "./subnet_environment.ts";

export interface GarbageCollection {
  readonly config: PluginConfig;
  /** Directories of plugins. */
  readonly path: readonly string[];
  readonly ports: DelegatePorts & { readonly environment: PluginEnvironment };
}

/**
 * Deletes the saved attachments of this network that are not valid, and passes GC on to the
 * delegate. A failure does not stop it: throws one `OperatorError` at the end.
 */
export async function collectGarbage(collection: GarbageCollection): Promise<void> {
  const failures: unknown[] = [];
  const attempt = async (action: () => Promise<unknown>) => {
    try {
      await action();
    } catch (error) {
      if (!(error instanceof OperatorError)) throw error;
      failures.push(error);
    }
  };
  for (const saved of staleConfigs(collection.config)) {
    await attempt(() => deleteAttachment(saved, collection));
  }
  await attempt(() => passOn(collection));
  const [first, ...others] = failures;
  if (first === undefined) return;
  if (others.length === 0) throw first;
  throw new CniError(
    CNI_CODES.internal,
    `${failures.length} steps failed; the first: ${(first as OperatorError).message}`,
  );
}

/** Several networks may share the directory: only those of this one. */
function staleConfigs({ name, dataDir, validAttachments }: PluginConfig): SavedConfig[] {
  // A missing list does not mean that no attachment is valid.
  if (validAttachments === undefined) return [];
  return savedConfigs(dataDir).filter((saved) =>
    saved.config["name"] === name && !validAttachments.some((valid) => isOf(saved, valid))
  );
}

/** The interface that container runtimes make, if it is not saved. */
const USUAL_INTERFACE = "eth0";

/** The container's network namespace is gone, so that only what is outside of it is deleted. */
async function deleteAttachment(
  { file, containerId, interfaceName = USUAL_INTERFACE, config: saved }: SavedConfig,
  { config, path, ports }: GarbageCollection,
): Promise<void> {
  ports.warn(`flannel: GC deletes the container ${printableName(containerId)}\n`);
  const environment = {
    ...ports.environment,
    CNI_CONTAINERID: containerId,
    CNI_IFNAME: interfaceName,
    CNI_NETNS: "",
  };
  await runDelegate({ command: "DEL", config: saved, path, environment }, ports);
  removeSavedConfig(config.dataDir, file);
}

async function passOn({ config, path, ports }: GarbageCollection): Promise<void> {
  const { environment } = ports;
  const attachments = config.validAttachments?.map(({ containerId, interfaceName }) => ({
    containerID: containerId,
    ifname: interfaceName,
  }));
  const delegated: JsonObject = {
    ...gcConfig(config),
    ...(attachments !== undefined && {
      "cni.dev/valid-attachments": attachments,
      "cni.dev/attachments": attachments,
    }),
  };
  await runDelegate({ command: "GC", config: delegated, path, environment }, ports);
}

/** GC works without the daemon, too. */
function gcConfig(config: PluginConfig): JsonObject {
  try {
    return delegateConfig(config, loadSubnetEnvironment(config.subnetFile));
  } catch (error) {
    if (!(error instanceof CniError) || error.code !== CNI_CODES.tryAgainLater) throw error;
    return delegateBase(config);
  }
}
