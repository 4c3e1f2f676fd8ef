/** The programs and privileges that every lab needs. */

import { findProgram, packageOf } from "../process/program_lookup.ts";

/** Why no lab can run on this machine; one line each, with what to do. */
export function missingPrerequisites({ etcd }: { readonly etcd: boolean }): string[] {
  if (process.platform !== "linux") return ["a lab needs the network namespaces of Linux"];
  const programs = ["ip", "ping", "mount", "unshare", ...(etcd ? ["etcd"] : [])];
  const missing = programs.filter((name) => findProgram(name) === undefined).map(missingProgram);
  return process.getuid?.() === 0
    ? missing
    : ["a lab creates network namespaces; run it as root", ...missing];
}

/** The message for a program that is not installed. */
export function missingProgram(name: string): string {
  return `program ${name} not found; install it with: apt-get install ${packageOf(name) ?? name}`;
}
