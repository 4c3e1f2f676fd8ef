/** Helm, built by tests/kube/helm.sh. */

import type { KubeObject } from "../../src/lab/kube/lab_manifest.ts";
import { runProgram, type RunResult } from "../../src/process/run_program.ts";
import { provided } from "./provided.ts";
import { IMAGE_PLACEHOLDER, parseObjects } from "./kube_manifest.ts";

export const CHART = new URL("../../deploy/chart/flannel", import.meta.url).pathname;

/** The arguments after `helm template`: the chart, with the image that the manifest has. */
const TEMPLATE = [
  "template",
  "flannel",
  CHART,
  "--namespace=kube-flannel",
  `--set=flannel.image.repository=${IMAGE_PLACEHOLDER}`,
];

/** Runs Helm, which needs no cluster for some commands. */
export async function helm(args: readonly string[], stdin = ""): Promise<RunResult> {
  return await runProgram(await helmProgram(), [...args], { stdin, env: process.env });
}

/** Its path. Throws an error that says why there is none. */
export async function helmProgram(): Promise<string> {
  return await provided("kube/helm.sh", { timeoutMs: 900_000 });
}

/** The objects of the chart with these values. Throws Helm's error. */
export async function renderChart(values: object = {}): Promise<readonly KubeObject[]> {
  const { exitCode, stdout, stderr } = await renderChartText(values);
  if (exitCode !== 0) throw new Error(stderr.trim());
  return parseObjects(stdout);
}

/** What `helm template` prints for these values. */
export async function renderChartText(values: object): Promise<RunResult> {
  return await helm([...TEMPLATE, "--values=-"], JSON.stringify(values));
}
