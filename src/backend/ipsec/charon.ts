/**
 * Finding strongSwan's IKE daemon, charon, and starting it where none runs.
 *
 * A charon that we start belongs to the data plane, not to this process: it stays when the daemon
 * ends, keeps the tunnels and their keys alive, and holds the socket that takes ESP out of UDP. The
 * next daemon finds it by its control socket in the run directory. (docs/adr/0009-charon-stays.md)
 */

import { mkdir } from "node:fs/promises";
import { dirname } from "node:path";
import { replaceFile } from "../../base/regular_file.ts";
import type { Log } from "../../log/log.ts";
import { listenerNamespace, ownNamespace } from "../../process/listener_namespace.ts";
import { signalProcess } from "../../process/signal_process.ts";
import { findCharon, packageOf } from "../../process/program_lookup.ts";
import { startDetached } from "../../process/detached_process.ts";
import { BackendError } from "../../overlay/backend_error.ts";
import { ForeignCharonError } from "./foreign_charon.ts";
import { ownSocket, settingsFile, SOCKET_VARIABLE, SYSTEM_SOCKET } from "./charon_paths.ts";
import { charonWith, makeWay } from "./charon_pid_file.ts";
import { installedPlugins, strongswanConf } from "./strongswan_conf.ts";
import { Vici, ViciError } from "./vici.ts";

export interface CharonOptions {
  /** Where a charon of our own has its settings and its socket. */
  readonly runDirectory: string;
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly log: Log;
}

/** A connection to a charon that answers. */
export interface Charon {
  readonly vici: Vici;
  /** In words, with its version. */
  readonly description: string;
  /** It was started just now, and has no tunnels yet. */
  readonly isNew: boolean;
  /** Ends it and leaves its tunnels in the kernel; absent if somebody else runs it. */
  readonly kill?: () => void;
}

/** Lets go of a charon that has not been told anything. */
export function giveUpCharon({ vici, isNew, kill }: Charon): void {
  vici[Symbol.dispose]();
  if (isNew) kill?.();
}

/**
 * The charon that is named in the environment, ours of a former run, the machine's
 * own, or a new one, in this order. Throws `BackendError` for what the user must mend, else
 * `ViciError`.
 */
export async function reachCharon(options: CharonOptions, stop: AbortSignal): Promise<Charon> {
  return await runningCharon(options) ?? await startCharon(options, stop);
}

async function runningCharon(options: CharonOptions): Promise<Charon | undefined> {
  const named = options.env[SOCKET_VARIABLE];
  if (named) return await greetNamed(named);
  return await ownCharon(options) ?? await systemCharon();
}

/** Our charon of a former run. Throws `ForeignCharonError` if it is in another network namespace. */
async function ownCharon(options: CharonOptions): Promise<Charon | undefined> {
  const socket = ownSocket(options.runDirectory);
  const place = listenerNamespace(socket);
  switch (place.kind) {
    case "here":
      return await answering(() => adoptCharon(options));
    case "absent":
      return undefined;
    case "elsewhere":
    case "hidden":
      throw new ForeignCharonError(socket, place);
  }
}

async function systemCharon(): Promise<Charon | undefined> {
  if (listenerNamespace(SYSTEM_SOCKET).kind !== "here") return undefined;
  return await answering(() => greet(SYSTEM_SOCKET, "the charon that runs on this machine"));
}

async function greetNamed(path: string): Promise<Charon> {
  const charon = await greetAt(path);
  const place = listenerNamespace(path);
  if (place.kind !== "elsewhere") return charon;
  giveUpCharon(charon);
  throw new BackendError(
    `${SOCKET_VARIABLE} names ${path}, whose charon is process ${place.pid} in network namespace ` +
      `${place.namespace}; this daemon is in ${ownNamespace()}, where that charon creates no ` +
      "tunnels. Name one that runs here, or unset the variable to have one started",
  );
}

async function greetAt(path: string): Promise<Charon> {
  try {
    return await greet(path, "the charon that the environment names");
  } catch (error) {
    if (!(error instanceof ViciError)) throw error;
    throw new BackendError(
      `${SOCKET_VARIABLE} names ${path}, where no charon answers (${error.message}); correct it, ` +
        "or leave it out to have one started",
      { cause: error },
    );
  }
}

async function answering(greet: () => Promise<Charon>): Promise<Charon | undefined> {
  try {
    return await greet();
  } catch (error) {
    if (error instanceof ViciError) return undefined;
    throw error;
  }
}

async function adoptCharon(options: CharonOptions): Promise<Charon> {
  const charon = await greet(ownSocket(options.runDirectory), "the charon of a former run");
  await followLog(charon.vici, options.log);
  const kill = () => {
    const pid = charonWith(settingsFile(options.runDirectory));
    if (pid !== undefined) signalProcess(pid, "SIGKILL");
  };
  return { ...charon, kill };
}

async function greet(path: string, what: string): Promise<Charon> {
  const vici = await Vici.connect(path);
  try {
    const { version } = await vici.request("version", {}, GREETING_TIMEOUT_MS);
    return { vici, description: `${what} (${version}, ${path})`, isNew: false };
  } catch (error) {
    vici[Symbol.dispose]();
    throw error;
  }
}

async function startCharon(options: CharonOptions, stop: AbortSignal): Promise<Charon> {
  const path = requireProgram();
  const socket = ownSocket(options.runDirectory);
  const conf = settingsFile(options.runDirectory);
  const plugins = installedPlugins(path);
  if (plugins !== undefined && !plugins.includes("vici")) {
    throw new BackendError(
      `charon (${path}) lacks its plugin vici, by which it is controlled; ` +
        "install it (Debian: strongswan-swanctl)",
    );
  }
  makeWay(conf, options.log);
  await writeSettings(conf, strongswanConf({ socket, plugins }));
  const lines: string[] = [];
  const charon = startDetached(path, [], {
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
    if (!stop.aborted) options.log.warn(`charon, process ${charon.pid}, ended with status ${code}`);
  });
  const deadline = performance.now() + START_TIMEOUT_MS;
  for (;;) {
    try {
      const greeted = await greet(socket, "a charon of our own");
      return { ...greeted, isNew: true, kill: () => charon.signal("SIGKILL") };
    } catch (error) {
      if (!(error instanceof ViciError)) throw error;
      if (status !== undefined) {
        throw new ViciError("start", `it ended with status ${status}: ${lines.join("; ")}`);
      }
      if (stop.aborted || performance.now() > deadline) {
        charon.signal("SIGKILL");
        stop.throwIfAborted();
        throw error;
      }
    }
    await Bun.sleep(START_POLL_MS);
  }
}

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

async function writeSettings(path: string, text: string): Promise<void> {
  try {
    await mkdir(dirname(path), { recursive: true });
    await replaceFile(path, text, { mode: 0o600, flush: false });
  } catch (cause) {
    throw new BackendError(
      `cannot write charon's settings ${path}: ${(cause as Error).message}; choose another ` +
        "directory with --subnet-file",
      { cause },
    );
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
