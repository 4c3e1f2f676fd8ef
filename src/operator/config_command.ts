/** `flanneld config`: see docs/operate.md. */

import { BACKENDS } from "../backend/backend_registry.ts";
import { assertNever } from "../base/assert_never.ts";
import { errorMessage } from "../base/operator_error.ts";
import { printableLine } from "../base/quoting.ts";
import { readRegularText } from "../base/regular_file.ts";
import type { ConfigAction } from "../cli/config_arguments.ts";
import type { NetworkConfig } from "../config/network_config.ts";
import { checkConfigText, type ConfigMistake } from "./check_config.ts";
import { findConfig, type FoundConfig } from "./config_source.ts";
import { effectiveConfigText } from "./config_text.ts";
import {
  type OperatorContext,
  type OperatorStreams,
  RefusedError,
  runOperator,
} from "./run_operator.ts";

/** Returns the exit status. */
export function configCommand(action: ConfigAction, streams: OperatorStreams): Promise<number> {
  return runOperator(`flanneld config ${action.kind}`, streams, async (context) => {
    switch (action.kind) {
      case "show":
        return await show(action, context);
      case "check":
        return await check(action, context);
      case "set":
        return await set(action, context);
      default:
        return assertNever(action);
    }
  });
}

async function show(
  { store, choice }: Extract<ConfigAction, { kind: "show" }>,
  context: OperatorContext,
): Promise<number> {
  const { streams, note } = context;
  const found = await findConfig(store, context);
  const { text, source } = requireText(found);
  const { config, mistakes } = await checkConfigText(text, found.allocation);
  if (config === undefined) {
    const first = mistakes.find(({ severity }) => severity === "error");
    throw new RefusedError(`${source} is invalid: ${first?.message}; see flanneld config check`);
  }
  const module = await BACKENDS.forNetwork(config).load();
  await streams.out(effectiveConfigText(config, module.options, found.allocation));
  const { capacityLines, mtuLine } = await import("./config_summary.ts");
  for (const mistake of mistakes) note(mistakeLine(source, mistake));
  note(`source: ${source}`);
  const leases = found.network?.leases ?? [];
  for (const line of capacityLines(config, found.allocation, leases)) note(line);
  note(await mtuLine(config, module, choice));
  return 0;
}

async function check(
  { store, file }: Extract<ConfigAction, { kind: "check" }>,
  context: OperatorContext,
): Promise<number> {
  const { text, source, allocation } = file === undefined
    ? requireText(await findConfig(store, context))
    : {
      text: await readConfigFile(file, context.streams),
      source: fileName(file),
      allocation: store.kubeSubnetManager ? "kubernetes" as const : "flanneld" as const,
    };
  const { config, mistakes } = await checkConfigText(text, allocation);
  const lines = mistakes.length === 0 && config !== undefined
    ? [`${source} is valid: ${configName(config)}`]
    : mistakes.map((mistake) => mistakeLine(source, mistake));
  await context.streams.out(lines.map((line) => `${line}\n`).join(""));
  return mistakes.length === 0 ? 0 : 1;
}

async function set(
  { store: options, file, force }: Extract<ConfigAction, { kind: "set" }>,
  context: OperatorContext,
): Promise<number> {
  const { streams, note, signal } = context;
  if (options.kubeSubnetManager) {
    throw new RefusedError(
      "with Kubernetes, the configuration is in the ConfigMap kube-flannel-cfg: kubectl edit " +
        "--namespace kube-flannel configmap kube-flannel-cfg",
    );
  }
  const text = await readConfigFile(file, streams);
  const { config, mistakes } = await checkConfigText(text, "flanneld");
  for (const mistake of mistakes) note(mistakeLine(fileName(file), mistake));
  if (config === undefined) {
    throw new RefusedError("nothing is changed: no daemon could use the configuration");
  }
  if (mistakes.length > 0 && !force) {
    throw new RefusedError(
      "nothing is changed because of the warnings; correct what they name, or write it anyway " +
        "with --force",
    );
  }
  const [{ openNetworkStore }, { setConfig }] = await Promise.all([
    import("./stored_network.ts"),
    import("./set_config.ts"),
  ]);
  await using store = openNetworkStore(options, context);
  const print = (lines: readonly string[]) =>
    streams.out(lines.map((line) => `${printableLine(line)}\n`).join(""));
  await setConfig(store, { text, config, force, print }, signal);
  return 0;
}

function fileName(file: string): string {
  return file === "-" ? "standard input" : file;
}

function requireText(found: FoundConfig): FoundConfig & { readonly text: string } {
  const { text, source } = found;
  if (text !== undefined) return { ...found, text };
  throw new RefusedError(`there is no ${source}; write one with flanneld config set`);
}

const MAX_BYTES = 1024 * 1024;

/** Throws `RefusedError`. */
async function readConfigFile(file: string, { input }: OperatorStreams): Promise<string> {
  try {
    return file === "-" ? await input() : readRegularText(file, MAX_BYTES);
  } catch (cause) {
    throw new RefusedError(`cannot read ${file}: ${errorMessage(cause)}`, { cause });
  }
}

/** In the format of compilers, which editors know. */
function mistakeLine(source: string, { line, column, severity, message }: ConfigMistake): string {
  return printableLine(`${source}:${line}:${column}: ${severity}: ${message}`);
}

/** Such as `vxlan, 10.5.0.0/16`. */
function configName({ backend, families }: NetworkConfig): string {
  return [backend.type, ...Object.values(families).map(({ network }) => network)].join(", ");
}
