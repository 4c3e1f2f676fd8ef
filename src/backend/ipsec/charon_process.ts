/** The one charon of a machine: its pid file has a fixed path. */

import { existsSync, rmSync } from "node:fs";
import { dirname } from "node:path";
import type { Log } from "../../log/log.ts";
import { CHARON_PID_FILE, charonPidFileHolder } from "../../process/charon_pid_file.ts";
import { OWN_RUN, ownNamespace } from "../../process/listener_namespace.ts";
import { environmentOf, namespaceOf } from "../../process/proc_files.ts";
import { CharonError } from "./charon_error.ts";
import { ownSocket, SOCKET_VARIABLE } from "./charon_paths.ts";

const SETTINGS_VARIABLE = "STRONGSWAN_CONF";

/** The charon that runs with these settings in this network namespace; `undefined` without one. */
export function charonProcess(settings: string): number | undefined {
  const holder = charonPidFileHolder();
  if (!holder?.isCharon || settingsOf(holder.pid) !== settings) return undefined;
  return foreignNamespace(holder.pid) === undefined ? holder.pid : undefined;
}

/**
 * Removes the pid file if it names another program: charon refuses to start while that process
 * exists, and in a restarted container the process numbers are often the same. Throws `CharonError`
 * if a charon is running.
 */
export function clearPidFile(settings: string, log: Log): void {
  const holder = charonPidFileHolder();
  if (holder === undefined) return;
  const { pid, isCharon } = holder;
  if (isCharon) throw new CharonError("not started", conflictText(pid, settings));
  log.info(`${CHARON_PID_FILE} names process ${pid}, which is not charon; removing it`);
  rmSync(CHARON_PID_FILE, { force: true });
}

function conflictText(pid: number, settings: string): string {
  const namespace = foreignNamespace(pid);
  if (namespace !== undefined) {
    return `cannot start charon: another one, process ${pid} in network namespace ` +
      `${namespace}, has ${CHARON_PID_FILE}, and only one can; this daemon is in ` +
      `${ownNamespace()}: ${OWN_RUN}, or stop that charon with "kill ${pid}"`;
  }
  const otherSettings = settingsOf(pid);
  if (otherSettings === settings) {
    return `the charon of the previous run, process ${pid}, does not respond; end it with ` +
      `"kill -9 ${pid}"`;
  }
  const socket = otherSettings === undefined ? undefined : socketNextTo(otherSettings);
  return `cannot start charon: another one, process ${pid}, runs on this host, and only one can; ` +
    `use it with ${SOCKET_VARIABLE}=${socket ?? "PATH, its control socket"}, or end it with ` +
    `"kill ${pid}"`;
}

/** The process's network namespace if it differs from this one's; `undefined` if unknown. */
function foreignNamespace(pid: number): string | undefined {
  const namespace = namespaceOf(pid, "net");
  return namespace === ownNamespace() ? undefined : namespace;
}

/** The settings file that a charon was started with. */
function settingsOf(pid: number): string | undefined {
  return environmentOf(pid)?.get(SETTINGS_VARIABLE);
}

/** The control socket of another flanneld's charon. */
function socketNextTo(settings: string): string | undefined {
  const socket = ownSocket(dirname(settings));
  return existsSync(socket) ? socket : undefined;
}
