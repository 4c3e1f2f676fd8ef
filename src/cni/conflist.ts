/** The list of plugins that a container runtime reads from /etc/cni/net.d. Pure. */

import { isJsonObject } from "../base/json_object.ts";
import { quoted } from "../base/quoting.ts";
import { CNI_CODES, CniError } from "./cni_error.ts";
import { delegateType } from "./delegate_config.ts";
import { parseJsonObject, parseName, parseVersion } from "./plugin_config.ts";

/**
 * Throws `CniError` unless it is a list with the plugin `flannel`, which a runtime and the plugin
 * can use as far as the file shows. Other plugins are not looked at.
 */
export function checkConflist(text: string): void {
  const list = parseJsonObject(text, "the list of plugins");
  parseName(list["name"]);
  const version = list["cniVersion"];
  if (version !== undefined && typeof version !== "string") {
    throw invalid(`cniVersion is ${quoted(version)}, not a version such as "1.0.0"`);
  }
  parseVersion(version);
  const plugins = list["plugins"];
  if (!Array.isArray(plugins)) {
    throw invalid(
      plugins === undefined
        ? 'it has no key plugins; a single plugin belongs into {"plugins": […]}'
        : `plugins is ${quoted(plugins)}, not a list`,
    );
  }
  const types = plugins.map((plugin: unknown) => isJsonObject(plugin) ? plugin["type"] : undefined);
  const unnamed = types.findIndex((type) => typeof type !== "string" || type === "");
  if (unnamed >= 0) throw invalid(`plugin ${unnamed + 1} of it has no type`);
  if (!types.includes("flannel")) throw invalid("none of its plugins has the type flannel");
  for (const { type, delegate } of plugins) {
    if (type !== "flannel" || delegate === undefined) continue;
    if (!isJsonObject(delegate)) throw invalid(`delegate is ${quoted(delegate)}, not an object`);
    delegateType(delegate);
  }
}

function invalid(message: string): CniError {
  return new CniError(CNI_CODES.invalidConfig, message);
}
