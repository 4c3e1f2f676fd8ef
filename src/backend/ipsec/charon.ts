/**
 * Finds strongSwan's IKE daemon, charon, or starts it.
 *
 * A charon that flanneld has started belongs to the data plane: it keeps running when the daemon
 * ends, renews the keys of the tunnels, and holds the socket that decapsulates ESP from UDP. The
 * next daemon finds it by its control socket in the run directory.
 * (docs/adr/0009-charon-stays.md)
 */

import { mkdir } from "node:fs/promises";
import { dirname } from "node:path";
import { replaceFile } from "../../base/regular_file.ts";
import type { Log } from "../../log/log.ts";
import { listenerNamespace, ownNamespace } from "../../process/listener_namespace.ts";
import { type Clock, sleep } from "../../base/clock.ts";
import { errorMessage } from "../../base/operator_error.ts";
import { signalProcess } from "../../process/signal_process.ts";
import { findCharon, packageOf } from "../../process/program_lookup.ts";
import { startDetached } from "../../process/detached_process.ts";
import { BackendError } from "../../overlay/backend_error.ts";
import { ForeignCharonError } from "./foreign_charon.ts";
import { ownSocket, settingsFile, SOCKET_VARIABLE, SYSTEM_SOCKET } from "./charon_paths.ts";
import { CharonError } from "./charon_error.ts";
import { charonProcess, clearPidFile } from "./charon_process.ts";
import { requireIkePorts } from "./ike_ports.ts";
import { installedPlugins, strongswanConf } from "./strongswan_conf.ts";
import { Vici } from "./vici.ts";

export interface CharonOptions {
  /** The directory of the settings and the socket of flanneld's charon. */
  readonly runDirectory: string;
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly clock: Clock;
  readonly log: Log;
}

/** A connection to a charon that responds. */
export interface Charon {
  readonly vici: Vici;
  /** Such as `the charon of this machine (5.9.8, /var/run/charon.vici)`. */
  readonly description: string;
  /** It has just been started, and has no tunnels yet. */
  readonly isNew: boolean;
  /** Ends it and leaves its tunnels in the kernel; absent if flanneld has not started it. */
  readonly kill?: () => void;
}

/** Disconnects from a charon that has no connections of this run, and ends it if it is new. */
export function releaseCharon({ vici, isNew, kill }: Charon): void {
  vici[Symbol.dispose]();
  if (isNew) kill?.();
}

/**
 * Connects to the charon that the environment names, the one of the previous run, the one of the
 * machine, or a new one, in this order. Throws `BackendError` if the operator has to act, otherwise
 * `CharonError`.
 */
export async function connectCharon(options: CharonOptions, stop: AbortSignal): Promise<Charon> {
  return await runningCharon(options) ?? await startCharon(options, stop);
}

async function runningCharon(options: CharonOptions): Promise<Charon | undefined> {
  const named = options.env[SOCKET_VARIABLE];
  if (named) return await namedCharon(named, options.clock);
  return await ownCharon(options) ?? await systemCharon(options.clock);
}

/** The charon of the previous run. Throws `ForeignCharonError` for another network namespace. */
async function ownCharon(options: CharonOptions): Promise<Charon | undefined> {
  const socket = ownSocket(options.runDirectory);
  const listener = listenerNamespace(socket);
  switch (listener.kind) {
    case "here":
      return await ifItResponds(() => adoptCharon(options));
    case "absent":
      return undefined;
    case "elsewhere":
    case "hidden":
      throw new ForeignCharonError(socket, listener);
  }
}

async function systemCharon(clock: Clock): Promise<Charon | undefined> {
  if (listenerNamespace(SYSTEM_SOCKET).kind !== "here") return undefined;
  return await ifItResponds(() => connect(SYSTEM_SOCKET, "the charon of this machine", clock));
}

async function namedCharon(path: string, clock: Clock): Promise<Charon> {
  const charon = await connectNamed(path, clock);
  const listener = listenerNamespace(path);
  if (listener.kind !== "elsewhere") return charon;
  releaseCharon(charon);
  throw new BackendError(
    `${SOCKET_VARIABLE} names ${path}, whose charon is process ${listener.pid} in network ` +
      `namespace ${listener.namespace}; this daemon is in ${ownNamespace()}, where that charon ` +
      "creates no tunnels: name one that runs here, or unset the variable to let flanneld start " +
      "one",
  );
}

async function connectNamed(path: string, clock: Clock): Promise<Charon> {
  try {
    return await connect(path, `the charon of ${SOCKET_VARIABLE}`, clock);
  } catch (error) {
    if (!(error instanceof CharonError)) throw error;
    throw new BackendError(
      `${SOCKET_VARIABLE} names ${path}, where no charon responds (${error.message}); correct ` +
        "it, or unset it to let flanneld start one",
      { cause: error },
    );
  }
}

async function ifItResponds(connecting: () => Promise<Charon>): Promise<Charon | undefined> {
  try {
    return await connecting();
  } catch (error) {
    if (error instanceof CharonError) return undefined;
    throw error;
  }
}

async function adoptCharon({ runDirectory, clock, log }: CharonOptions): Promise<Charon> {
  const charon = await connect(ownSocket(runDirectory), "the charon of the previous run", clock);
  await followLog(charon.vici, log);
  const kill = () => {
    const pid = charonProcess(settingsFile(runDirectory));
    if (pid !== undefined) signalProcess(pid, "SIGKILL");
  };
  return { ...charon, kill };
}

async function connect(path: string, what: string, clock: Clock): Promise<Charon> {
  const vici = await Vici.connect(path, clock);
  try {
    const { version } = await vici.request("version", {}, { timeoutMs: VERSION_TIMEOUT_MS });
    return { vici, description: `${what} (${version}, ${path})`, isNew: false };
  } catch (error) {
    vici[Symbol.dispose]();
    throw error;
  }
}

async function startCharon(options: CharonOptions, stop: AbortSignal): Promise<Charon> {
  const { runDirectory, env, clock, log } = options;
  const path = requireCharon();
  requireIkePorts();
  const socket = ownSocket(runDirectory);
  const conf = settingsFile(runDirectory);
  const plugins = installedPlugins(path);
  if (plugins !== undefined && !plugins.includes("vici")) {
    throw new BackendError(
      `charon (${path}) lacks its plugin vici, which flanneld needs to control it; ` +
        "install it (Debian: strongswan-swanctl)",
    );
  }
  clearPidFile(conf, log);
  await writeSettings(conf, strongswanConf({ socket, plugins }));
  const lines: string[] = [];
  const charon = startDetached(path, [], {
    env: { PATH: env["PATH"] ?? "", STRONGSWAN_CONF: conf },
    onLine: (line) => {
      if (lines.length < REMEMBERED_LINES) lines.push(line);
      logLine(log, line);
    },
  });
  log.info(`started charon, process ${charon.pid} (${path})`);
  let status: number | undefined;
  void charon.exited.then((code) => {
    status = code;
    if (!stop.aborted) log.warn(`charon, process ${charon.pid}, exited with status ${code}`);
  });
  const deadlineMs = clock.nowMs() + START_TIMEOUT_MS;
  for (;;) {
    try {
      const connected = await connect(socket, "the charon that flanneld has started", clock);
      return { ...connected, isNew: true, kill: () => charon.signal("SIGKILL") };
    } catch (error) {
      if (!(error instanceof CharonError)) throw error;
      if (status !== undefined) {
        const output = lines.join("; ");
        throw new CharonError("not started", `charon exited with status ${status}: ${output}`);
      }
      if (stop.aborted || clock.nowMs() > deadlineMs) {
        charon.signal("SIGKILL");
        stop.throwIfAborted();
        throw error;
      }
    }
    await sleep(clock, START_POLL_MS, stop);
  }
}

const VERSION_TIMEOUT_MS = 3000;
const START_TIMEOUT_MS = 10_000;
const START_POLL_MS = 20;
/** Of charon's first lines, for the message if it exits at once. */
const REMEMBERED_LINES = 20;

function requireCharon(): string {
  const path = findCharon();
  if (path !== undefined) return path;
  throw new BackendError(
    "the ipsec backend needs strongSwan's charon, which is not on PATH, in /usr/lib/strongswan, " +
      "/usr/lib/ipsec, /usr/libexec/strongswan or /usr/libexec/ipsec; install it (Debian: " +
      `${packageOf("charon")}, strongswan-swanctl and libstrongswan-standard-plugins)`,
  );
}

async function writeSettings(path: string, text: string): Promise<void> {
  try {
    await mkdir(dirname(path), { recursive: true });
    await replaceFile(path, text, { mode: 0o600, flush: false });
  } catch (cause) {
    throw new BackendError(
      `cannot write charon's settings ${path}: ${errorMessage(cause)}; choose another ` +
        "directory with --subnet-file",
      { cause },
    );
  }
}

/** charon's `log` events: its lines, after the daemon that read its output has ended. */
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

/** Groups with lines for each packet and each job, thus for each check of each peer. */
const QUIET_GROUPS: ReadonlySet<string> = new Set(["ENC", "NET", "JOB", "KNL"]);
