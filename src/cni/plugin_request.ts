/** What a container runtime asks of the plugin: the variables CNI_*. Pure. */

import { quoted } from "../base/quoting.ts";
import { CNI_CODES, CniError } from "./cni_error.ts";
import { isCniName } from "./plugin_config.ts";

export type PluginEnvironment = Readonly<Record<string, string | undefined>>;

export type PluginRequest =
  /** Without CNI_COMMAND, a plugin prints what it is. */
  | { readonly command: undefined }
  | { readonly command: "VERSION" }
  | { readonly command: "STATUS" | "GC"; readonly path: readonly string[] }
  | {
    readonly command: "ADD" | "CHECK" | "DEL";
    readonly containerId: string;
    readonly interfaceName: string;
    /** Directories of plugins. */
    readonly path: readonly string[];
  };

/** The variables that each command needs. */
const REQUIRED = {
  ADD: ["CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME", "CNI_PATH"],
  CHECK: ["CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME", "CNI_PATH"],
  DEL: ["CNI_CONTAINERID", "CNI_IFNAME", "CNI_PATH"],
  STATUS: ["CNI_PATH"],
  GC: ["CNI_PATH"],
  VERSION: [],
} as const satisfies Readonly<Record<string, readonly string[]>>;

/** Throws `CniError`. */
export function parsePluginRequest(environment: PluginEnvironment): PluginRequest {
  const command = environment["CNI_COMMAND"] ?? "";
  if (command === "") return { command: undefined };
  if (!isCommand(command)) throw invalid(`unknown CNI_COMMAND: ${quoted(command)}`);
  const missing = REQUIRED[command].filter((name) => (environment[name] ?? "") === "");
  if (missing.length > 0) throw invalid(`required variables are missing: ${missing.join(", ")}`);
  const path = (environment["CNI_PATH"] ?? "").split(":").filter((directory) => directory !== "");
  switch (command) {
    case "VERSION":
      return { command };
    case "STATUS":
    case "GC":
      return { command, path };
    default:
      return { command, path, ...parseAttachment(environment) };
  }
}

function isCommand(text: string): text is keyof typeof REQUIRED {
  return Object.hasOwn(REQUIRED, text);
}

function parseAttachment(
  environment: PluginEnvironment,
): { containerId: string; interfaceName: string } {
  const containerId = environment["CNI_CONTAINERID"] ?? "";
  const interfaceName = environment["CNI_IFNAME"] ?? "";
  // It is the name of a file.
  if (!isCniName(containerId)) {
    throw invalid(
      `CNI_CONTAINERID is ${quoted(containerId)}; it may have letters, digits, "_", "." and "-"`,
    );
  }
  // dev_valid_name() of the kernel
  const isName = /^[^\s/:]{1,15}$/.test(interfaceName) && !/^\.\.?$/.test(interfaceName);
  if (!isName) {
    throw invalid(`CNI_IFNAME is ${quoted(interfaceName)}, not the name of an interface`);
  }
  return { containerId, interfaceName };
}

function invalid(message: string): CniError {
  return new CniError(CNI_CODES.invalidEnvironment, message);
}
