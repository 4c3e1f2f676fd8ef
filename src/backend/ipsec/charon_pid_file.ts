/** The one place that a machine has for charon: its pid file, whose path is compiled in. */

import { existsSync, rmSync } from "node:fs";
import { dirname } from "node:path";
import type { Log } from "../../log/log.ts";
import { CHARON_PID_FILE, charonPidFileHolder } from "../../process/charon_pid_file.ts";
import { OWN_RUN, ownNamespace } from "../../process/listener_namespace.ts";
import { environmentOf, namespaceOf } from "../../process/proc_files.ts";
import { ownSocket, SOCKET_VARIABLE } from "./charon_paths.ts";
import { ViciError } from "./vici.ts";

const SETTINGS_VARIABLE = "STRONGSWAN_CONF";

/** The charon that runs here with these settings; `undefined` if there is none. */
export function charonWith(settings: string): number | undefined {
  const holder = charonPidFileHolder();
  if (!holder?.isCharon || settingsOf(holder.pid) !== settings) return undefined;
  return foreignNamespace(holder.pid) === undefined ? holder.pid : undefined;
}

/**
 * charon refuses to start while a process has the number in its file, be it another program's by now:
 * in a container that starts anew the numbers are often the same. Throws `ViciError` if it is charon's.
 */
export function makeWay(settings: string, log: Log): void {
  const holder = charonPidFileHolder();
  if (holder === undefined) return;
  const { pid, isCharon } = holder;
  if (isCharon) throw new ViciError("start", inTheWay(pid, settings));
  log.info(`${CHARON_PID_FILE} names process ${pid}, which is not charon; removing it`);
  rmSync(CHARON_PID_FILE, { force: true });
}

function inTheWay(pid: number, settings: string): string {
  const namespace = foreignNamespace(pid);
  if (namespace !== undefined) {
    return `another charon, process ${pid} in network namespace ${namespace}, has ${CHARON_PID_FILE}, and only ` +
      `one charon can; this daemon is in ${ownNamespace()}: ${OWN_RUN}, or stop that charon with ` +
      `"kill ${pid}"`;
  }
  const its = settingsOf(pid);
  if (its === settings) {
    return `the charon of a former run, process ${pid}, does not answer; end it with ` +
      `"kill -9 ${pid}"`;
  }
  const socket = its === undefined ? undefined : socketBeside(its);
  return `another charon, process ${pid}, runs on this host, which has room for one; use it with ` +
    `${SOCKET_VARIABLE}=${socket ?? "PATH, its control socket"}, or end it with "kill ${pid}"`;
}

/** The process's network namespace if it differs from this one's; `undefined` if unknown. */
function foreignNamespace(pid: number): string | undefined {
  const namespace = namespaceOf(pid, "net");
  return namespace === ownNamespace() ? undefined : namespace;
}

/** The settings file that a charon was given by who started it. */
function settingsOf(pid: number): string | undefined {
  return environmentOf(pid)?.get(SETTINGS_VARIABLE);
}

/** Where the charon of another flanneld listens. */
function socketBeside(settings: string): string | undefined {
  const socket = ownSocket(dirname(settings));
  return existsSync(socket) ? socket : undefined;
}
