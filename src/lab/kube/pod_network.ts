/** Connects the pod of a node by its CNI plugins, as a container runtime does. */

import { join, resolve } from "node:path";
import type { PerFamily } from "../../addr/family.ts";
import { familyOf, type IpAddress, parseIpAddress } from "../../addr/ip.ts";
import { isJsonObject, type JsonObject } from "../../base/json_object.ts";
import { findProgram, programEnvironment } from "../../process/program_lookup.ts";
import { runProgram } from "../../process/run_program.ts";
import { namespaceScript, topologyMark } from "../namespace.ts";
import type { LabHost } from "../topology.ts";
import type { CniConflist } from "./lab_manifest.ts";

export interface PodNetwork {
  readonly host: LabHost;
  /** Where the plugins keep their files for this node. */
  readonly stateDirectory: string;
  /** That of the node's daemon. */
  readonly subnetFile: string;
  /** Directories of plugins. */
  readonly path: readonly string[];
  readonly conflist: CniConflist;
  readonly signal: AbortSignal;
}

const PLUGIN_TIMEOUT_MS = 60_000;

/**
 * Calls ADD of the plugin loopback and of each plugin of the list, and returns the addresses of the
 * pod's `eth0`. Throws with the error of the plugin that fails.
 */
export async function addPod(network: PodNetwork): Promise<PerFamily<IpAddress>> {
  const { host, conflist: { name, cniVersion, plugins }, signal } = network;
  await namespaceScript(host.workloadNamespace, NO_DUPLICATE_ADDRESS_DETECTION, signal);
  const loopback = { name: "loopback", cniVersion, type: "loopback" };
  await callPlugin({ type: "loopback", interfaceName: "lo", config: loopback }, network);
  let prevResult: JsonObject | undefined;
  for (const { type, ...plugin } of plugins) {
    const config = {
      ...plugin,
      ...(type === "flannel" && nodePaths(network)),
      name,
      cniVersion,
      type,
      ...(prevResult !== undefined && { prevResult }),
    };
    prevResult = await callPlugin({ type, interfaceName: "eth0", config }, network);
  }
  return addressesOf(prevResult ?? {});
}

/** The path of a plugin in the first of the directories that has it. */
export function findPlugin(type: string, directories: readonly string[]): string | undefined {
  return directories.map((directory) => findProgram(resolve(directory, type)))
    .find((path) => path !== undefined);
}

/** The nodes of a lab share a file system; the manifest's paths would be those of the machine. */
function nodePaths({ stateDirectory, subnetFile }: PodNetwork): JsonObject {
  const dataDir = join(stateDirectory, "flannel");
  return { subnetFile, dataDir, ipam: { dataDir: join(stateDirectory, "networks") } };
}

interface PluginCall {
  readonly type: string;
  readonly interfaceName: string;
  readonly config: JsonObject;
}

async function callPlugin(
  { type, interfaceName, config }: PluginCall,
  { host, path, signal }: PodNetwork,
): Promise<JsonObject> {
  const program = findPlugin(type, path);
  if (program === undefined) throw new Error(`CNI plugin ${type} not found in ${path.join(", ")}`);
  const command = ["netns", "exec", host.namespace, program];
  const { exitCode, stdout, stderr } = await runProgram("ip", command, {
    stdin: JSON.stringify(config),
    env: {
      ...programEnvironment(),
      ...topologyMark(host.namespace),
      CNI_COMMAND: "ADD",
      CNI_CONTAINERID: host.workloadNamespace,
      CNI_NETNS: `/run/netns/${host.workloadNamespace}`,
      CNI_IFNAME: interfaceName,
      CNI_PATH: path.join(":"),
    },
    timeoutMs: PLUGIN_TIMEOUT_MS,
    signal,
  });
  const result: unknown = exitCode === 0 ? JSON.parse(stdout) : undefined;
  if (isJsonObject(result)) return result;
  const output = `${stdout} ${stderr}`.replaceAll(/\s+/g, " ").trim();
  throw new Error(
    `the CNI plugin ${type} of ${host.name} failed with status ${exitCode}: ${output}`,
  );
}

/** The addresses in the result of a list of plugins (https://www.cni.dev/docs/spec/#success). */
export function addressesOf({ ips }: JsonObject): PerFamily<IpAddress> {
  const addresses: { 4?: IpAddress; 6?: IpAddress } = {};
  for (const ip of Array.isArray(ips) ? ips as unknown[] : []) {
    const text = isJsonObject(ip) ? String(ip["address"]) : "";
    const address = parseIpAddress(text.split("/")[0] as string);
    if (address !== undefined) addresses[familyOf(address)] = address;
  }
  return addresses;
}

/** It would delay the first ping over IPv6 by two seconds. */
const NO_DUPLICATE_ADDRESS_DETECTION = `if [ -d /proc/sys/net/ipv6 ]; then
echo 0 >/proc/sys/net/ipv6/conf/default/accept_dad
fi
`;
