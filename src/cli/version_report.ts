/** `flanneld version --json`: what a bug report needs to know about a machine. */

import { readFileSync } from "node:fs";
import { machine, release } from "node:os";
import { libcVersion, type LibnlVersion, libnlVersion } from "../../ffi/library_versions.ts";
import { errorMessage, OperatorError } from "../base/operator_error.ts";
import { COMMIT, VERSION } from "./version.ts";

export interface VersionReport {
  readonly version: string;
  readonly commit: string;
  readonly bun: string;
  /** As `uname -m` prints it. */
  readonly architecture: string;
  /** As `uname -r` prints it. */
  readonly kernel: string;
  /** `PRETTY_NAME` of os-release(5); empty if there is none, as in an image of one file. */
  readonly distribution: string;
  readonly libc: string;
  readonly libnl: LibnlVersion | { readonly error: string };
}

export function versionReport(): VersionReport {
  return {
    version: VERSION,
    commit: COMMIT,
    bun: Bun.version,
    architecture: machine(),
    kernel: release(),
    distribution: distributionName(),
    libc: libcVersion(),
    libnl: libnl(),
  };
}

function libnl(): VersionReport["libnl"] {
  try {
    return libnlVersion();
  } catch (error) {
    if (!(error instanceof OperatorError)) throw error;
    return { error: errorMessage(error) };
  }
}

function distributionName(): string {
  for (const path of ["/etc/os-release", "/usr/lib/os-release"]) {
    try {
      const name = /^PRETTY_NAME=(.*)$/m.exec(readFileSync(path, "utf8"))?.[1] ?? "";
      return name.replace(/^(["'])(.*)\1$/, "$2");
    } catch {
      // The other file, or none.
    }
  }
  return "";
}
