/**
 * Finding strongSwan's IKE daemon, charon, and starting it where none runs.
 *
 * A charon that we start belongs to the data plane, not to this process: like a device, it stays when
 * the daemon ends, keeps the tunnels and their keys alive, and is found again by its control socket
 * in the run directory. When it ends by itself the tunnels stay in the kernel, for charon was not
 * there to take them down, or are taken down by its orderly end; the next one makes new ones.
 */

import { mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { Log } from "../../log/log.ts";
import { findCharon, packageOf } from "../../process/programs.ts";
import { startService } from "../../process/service.ts";
import { BackendError } from "../target.ts";
import { installedPlugins, strongswanConf } from "./strongswan_conf.ts";
import { Vici, ViciError } from "./vici.ts";

export interface CharonOptions {
  /** Where our charon has its socket and its settings. */
  readonly runDirectory: string;
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly log: Log;
}

/** A connection to a charon that answers. */
export interface Charon {
  readonly vici: Vici;
  /** In words, with its version. */
  readonly description: string;
}

/** Control socket of a charon that somebody else runs, in the environment. */
export const SOCKET_VARIABLE = "CHARON_VICI_SOCKET";

/** Throws `BackendError` if no charon can be had on this machine, with the packages to install. */
export async function requireCharon(options: CharonOptions): Promise<void> {
  if (findCharon() !== undefined) return;
  const running = await runningCharon(options);
  running?.vici[Symbol.dispose]();
  if (running === undefined) requireProgram();
}

/**
 * The charon that is named in the environment, ours of a former run, the machine's own, or a new one,
 * in this order. Throws `BackendError` for what the user must mend, else `ViciError`.
 */
export async function reachCharon(options: CharonOptions, stop: AbortSignal): Promise<Charon> {
  return await runningCharon(options) ?? await startCharon(options, stop);
}

async function runningCharon(options: CharonOptions): Promise<Charon | undefined> {
  const named = options.env[SOCKET_VARIABLE];
  if (named) return await greet(named, "the charon that the environment names");
  const own = ownSocket(options);
  try {
    const charon = await greet(own, "the charon of a former run");
    await followLog(charon.vici, options.log);
    return charon;
  } catch (error) {
    if (!(error instanceof ViciError)) throw error;
  }
  try {
    return await greet(SYSTEM_SOCKET, "the charon that runs on this machine");
  } catch (error) {
    if (!(error instanceof ViciError)) throw error;
    return undefined;
  }
}

async function greet(path: string, what: string): Promise<Charon> {
  const vici = await Vici.connect(path);
  try {
    const { version } = await vici.request("version", {}, GREETING_TIMEOUT_MS);
    return { vici, description: `${what} (${version}, ${path})` };
  } catch (error) {
    vici[Symbol.dispose]();
    throw error;
  }
}

async function startCharon(options: CharonOptions, stop: AbortSignal): Promise<Charon> {
  const path = requireProgram();
  const socket = ownSocket(options);
  const conf = join(options.runDirectory, "strongswan.conf");
  const plugins = installedPlugins(path);
  if (plugins !== undefined && !plugins.includes("vici")) {
    throw new BackendError(
      `charon (${path}) lacks its plugin vici, by which it is controlled; ` +
        "install it (Debian: strongswan-swanctl)",
    );
  }
  mkdirSync(options.runDirectory, { recursive: true });
  writeFileSync(conf, strongswanConf({ socket, plugins }), { mode: 0o600 });
  removeStalePidFile(options.log);
  rmSync(socket, { force: true });
  const lines: string[] = [];
  const charon = startService(path, {
    env: { PATH: options.env["PATH"] ?? "", STRONGSWAN_CONF: conf },
    onLine: (line) => {
      if (lines.length < REMEMBERED_LINES) lines.push(line);
      logLine(options.log, line);
    },
  });
  options.log.info(`started charon, process ${charon.pid} (${path})`);
  let status: number | undefined;
  void charon.exited.then((code) => {
    status = code;
    options.log.warn(`charon, process ${charon.pid}, has ended with status ${code}`);
  });
  const deadline = performance.now() + START_TIMEOUT_MS;
  for (;;) {
    try {
      return await greet(socket, "a charon of our own");
    } catch (error) {
      if (!(error instanceof ViciError)) throw error;
      stop.throwIfAborted();
      if (status !== undefined) {
        throw new ViciError("start", `it ended with status ${status}: ${lines.join("; ")}`);
      }
      if (performance.now() > deadline) throw error;
    }
    await Bun.sleep(START_POLL_MS);
  }
}

/** The machine's own charon listens here; Go flannel's does too. */
const SYSTEM_SOCKET = "/var/run/charon.vici";
/** Compiled into charon: there can be one of these at a time. */
const PID_FILE = "/var/run/charon.pid";
const SOCKET_PATH_MAX_BYTES = 107; // struct sockaddr_un, unix(7)
const GREETING_TIMEOUT_MS = 3000;
const START_TIMEOUT_MS = 10_000;
const START_POLL_MS = 20;
/** Of what charon says first, for the message if it ends at once. */
const REMEMBERED_LINES = 20;

function requireProgram(): string {
  const path = findCharon();
  if (path !== undefined) return path;
  throw new BackendError(
    "the ipsec backend needs strongSwan's charon, which is not on PATH, in /usr/lib/strongswan, " +
      "/usr/lib/ipsec, /usr/libexec/strongswan or /usr/libexec/ipsec; install it (Debian: " +
      `${packageOf("charon")}, strongswan-swanctl and libstrongswan-standard-plugins)`,
  );
}

function ownSocket({ runDirectory }: CharonOptions): string {
  const path = join(runDirectory, "charon.vici");
  if (Buffer.byteLength(path) > SOCKET_PATH_MAX_BYTES) {
    throw new BackendError(
      `the path of charon's socket, ${path}, is longer than the ${SOCKET_PATH_MAX_BYTES} bytes ` +
        "that Linux allows; choose a shorter directory for --subnet-file",
    );
  }
  return path;
}

/**
 * charon refuses to start while a process has the number in its file, be it another program's by now:
 * in a container that starts anew the numbers are often the same.
 */
function removeStalePidFile(log: Log): void {
  try {
    const pid = Number(readFileSync(PID_FILE, "utf8"));
    if (readFileSync(`/proc/${pid}/comm`, "utf8").trim() === "charon") return;
    log.info(`${PID_FILE} names process ${pid}, which is not charon; removing it`);
    rmSync(PID_FILE, { force: true });
  } catch {
    // No such file, or no such process: charon finds out by itself.
  }
}

/** charon's events of the name `log`: its lines, after the process that read its output has gone. */
async function followLog(vici: Vici, log: Log): Promise<void> {
  await vici.subscribe("log", ({ group, msg }) => {
    if (typeof group === "string" && typeof msg === "string") logMessage(log, group, msg);
  });
}

/** A line such as `05[IKE] IKE_SA … established between …`. */
function logLine(log: Log, line: string): void {
  const [, group, message] = /^\d+\[(\w+)\] (.*)$/.exec(line) ?? [];
  if (group === undefined || message === undefined) log.info(`charon: ${line}`);
  else logMessage(log, group, message);
}

function logMessage(log: Log, group: string, message: string): void {
  if (QUIET_GROUPS.has(group) || message.startsWith("sending DPD request")) return;
  log.info(`charon: ${message}`);
}

/** What is said of each packet and each job: with every check whether a peer is there. */
const QUIET_GROUPS: ReadonlySet<string> = new Set(["ENC", "NET", "JOB", "KNL"]);
