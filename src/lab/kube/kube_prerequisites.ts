/** The programs that a lab with Kubernetes needs in addition to those of every lab. */

import { findProgram } from "../../process/program_lookup.ts";
import type { LabKubeOptions } from "../lab_options.ts";
import { findPlugin } from "./pod_network.ts";

/** The list of plugins in the manifest, its delegate, and the one of every container. */
const PLUGINS = ["bridge", "host-local", "loopback", "portmap"];

/** What is missing on this machine; one line each, with what to do. */
export function missingKubePrograms({ apiServer, cniDirectories }: LabKubeOptions): string[] {
  const missing: string[] = [];
  if (findProgram(apiServer) === undefined) missing.push(missingApiServer(apiServer));
  const plugins = PLUGINS.filter((type) => findPlugin(type, cniDirectories) === undefined);
  if (plugins.length > 0) {
    missing.push(
      `CNI plugins ${plugins.join(", ")} not found in ${cniDirectories.join(", ")}; install them ` +
        "with: apt-get install containernetworking-plugins; or name their directory with " +
        "--cni-bin-dir",
    );
  }
  return missing;
}

function missingApiServer(apiServer: string): string {
  const hint = "download it from https://kubernetes.io/releases/download/";
  return apiServer.includes("/")
    ? `--kube-apiserver is ${apiServer}, which is not a program; ${hint}`
    : `program ${apiServer} not found; ${hint} and name it with --kube-apiserver`;
}
