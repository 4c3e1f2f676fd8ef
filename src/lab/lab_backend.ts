/** A backend in a lab: whether it runs on this machine, and the options that it needs. */

import type { Family } from "../addr/ip.ts";
import type { BackendDescriptor, LabPrerequisites } from "../overlay/backend_descriptor.ts";
import { findProgram } from "../process/program_lookup.ts";
import { missingFeatures } from "./kernel_features.ts";
import { missingProgram } from "./prerequisites.ts";

/** Why no lab on this machine can run the backend; one line each, with what to do. */
export async function backendFaults({ type, lab }: BackendDescriptor): Promise<string[]> {
  if (lab?.unsupported !== undefined) return [`no lab can run ${type}: ${lab.unsupported}`];
  const ways: string[][] = [];
  for (const prerequisites of lab?.oneOf ?? []) {
    const missing = await missingPrerequisites(prerequisites);
    if (missing.length === 0) return [];
    ways.push(missing);
  }
  const [only = [], ...others] = ways;
  return others.length === 0 ? only : [ways.map((way) => way.join("; ")).join("; or: ")];
}

/** The Backend object of the network configuration. */
export function backendConfig(
  { type, lab }: BackendDescriptor,
  families: readonly Family[],
): Record<string, unknown> {
  return { Type: type, ...lab?.options?.(families) };
}

async function missingPrerequisites(
  { features, programs = [] }: LabPrerequisites,
): Promise<string[]> {
  const missing = await missingFeatures(features);
  const [preferred] = programs;
  if (preferred !== undefined && programs.every((name) => findProgram(name) === undefined)) {
    missing.push(missingProgram(preferred));
  }
  return missing;
}
