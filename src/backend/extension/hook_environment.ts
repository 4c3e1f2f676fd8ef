/** The environment of commands: the daemon's, without secrets and without systemd's sockets. */

import { isSecretVariable } from "../../process/secret_variables.ts";

export interface HookEnvironment {
  readonly env: Readonly<Record<string, string>>;
  /** Names of the secrets that commands do not get, sorted, except flanneld's own. */
  readonly withheld: readonly string[];
}

/** `wanted`: the names of variables that commands get even if they look like secrets. */
export function hookEnvironment(
  env: Readonly<Record<string, string | undefined>>,
  wanted: readonly string[],
): HookEnvironment {
  const passed: Record<string, string> = {};
  const withheld: string[] = [];
  for (const [name, value] of Object.entries(env)) {
    if (value === undefined || SYSTEMD.has(name)) continue;
    if (wanted.includes(name) || !isSecretVariable(name, value)) passed[name] = value;
    else if (!name.startsWith("FLANNELD_")) withheld.push(name);
  }
  return { env: passed, withheld: withheld.sort() };
}

/** With these a command could report the daemon as ready, alive or stopping (sd_notify(3)). */
const SYSTEMD: ReadonlySet<string> = new Set(["NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"]);
