/** Finds out who can run WireGuard devices on this machine, and starts a program for one. */

import { type Clock, pause } from "../../base/clock.ts";
import { loadModules } from "../../process/kernel_modules.ts";
import { OWN_RUN, ownNamespace } from "../../process/listener_namespace.ts";
import { ProcessError } from "../../process/process_error.ts";
import {
  findProgram,
  programEnvironment,
  WIREGUARD_PROGRAMS,
} from "../../process/program_lookup.ts";
import { runProgram } from "../../process/run_program.ts";
import { openFamily } from "../wire/generic_netlink.ts";
import { WIREGUARD_FAMILY } from "./kernel_driver.ts";
import { foreignHolder, isListening, uapiSocketPath } from "./userspace_driver.ts";
import type { Fault } from "./wireguard_driver.ts";

/** The kernel, or the program that runs WireGuard devices in its place. */
export type WireguardSupport = "kernel" | { readonly userspace: string };

/**
 * Who can run WireGuard devices: the kernel if it can (its module is loaded if needed), otherwise a
 * program in user space; `undefined` if there is neither. Creates no device to find out. Throws
 * `KernelError`, and `LibraryError` without libnl-genl.
 */
export async function wireguardSupport(): Promise<WireguardSupport | undefined> {
  if (hasFamily()) return "kernel";
  // The kernel has tried to load the module, but its modprobe may be another one than this.
  const signal = AbortSignal.timeout(MODPROBE_TIMEOUT_MS);
  const isLoaded = await loadModules(["wireguard"], { signal }).catch(() => false);
  if (isLoaded && hasFamily()) return "kernel";
  const userspace = WIREGUARD_PROGRAMS.find((program) => findProgram(program) !== undefined);
  return userspace === undefined ? undefined : { userspace };
}

/**
 * Starts a program that creates a TUN device of this name and listens on its socket, and waits
 * until it does. The program goes into the background and outlives this process. Returns the fault,
 * if any.
 */
export async function startUserspace(
  clock: Clock,
  link: string,
): Promise<Fault | undefined> {
  const program = WIREGUARD_PROGRAMS.find((name) => findProgram(name) !== undefined);
  if (program === undefined) {
    return {
      errno: "ENOENT",
      reason: `none of ${WIREGUARD_PROGRAMS.join(", ")} is installed`,
    };
  }
  const holder = foreignHolder(link);
  if (holder !== undefined) {
    const reason = `${holder} listens on the socket ${uapiSocketPath(link)}; this daemon is in ` +
      `${ownNamespace()}; ${OWN_RUN}`;
    return { errno: "EEXIST", reason };
  }
  // The process of a device that was just deleted would delete the socket of the new one.
  if (!await until(clock, async () => !await isListening(clock, link))) {
    return {
      errno: "EEXIST",
      reason: `another process still listens on the socket of WireGuard device ${link}`,
    };
  }
  try {
    const { exitCode, stdout, stderr } = await runProgram(program, [link], {
      env: { ...programEnvironment(), ...ENVIRONMENT },
      timeoutMs: START_TIMEOUT_MS,
    });
    if (exitCode !== 0) {
      const reason = lastLine(stderr) || lastLine(stdout) || `exit code ${exitCode}`;
      return { errno: "EIO", reason: `${program}: ${reason}` };
    }
  } catch (error) {
    if (!(error instanceof ProcessError)) throw error;
    return { errno: "EIO", reason: error.message };
  }
  if (await until(clock, () => isListening(clock, link))) return undefined;
  return { errno: "ETIMEDOUT", reason: `${program} does not respond` };
}

/** Keeps boringtun from changing to a user without permissions, and from logging to /tmp. */
const ENVIRONMENT = { WG_SUDO: "1", WG_LOG_FILE: "/dev/null" };
const MODPROBE_TIMEOUT_MS = 5000;
const START_TIMEOUT_MS = 10_000;
/** For a process to start listening, or to end. */
const WAIT_MS = 3000;
const WAIT_STEP_MS = 10;

function hasFamily(): boolean {
  using family = openFamily(WIREGUARD_FAMILY);
  return family !== undefined;
}

async function until(clock: Clock, condition: () => Promise<boolean>): Promise<boolean> {
  for (const deadlineMs = clock.nowMs() + WAIT_MS;;) {
    if (await condition()) return true;
    if (clock.nowMs() > deadlineMs) return false;
    await pause(clock, WAIT_STEP_MS);
  }
}

/** The last line of output, except for the box in which wireguard-go recommends the kernel. */
function lastLine(output: string): string {
  return output.split("\n").filter((line) => /^[^┌│└\s]/.test(line)).at(-1)?.trim() ?? "";
}
