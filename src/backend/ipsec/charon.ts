/**
 * Finding strongSwan's IKE daemon, charon, and starting it where none runs.
 *
 * A charon that we start belongs to the data plane, not to this process: it stays when the daemon
 * ends, keeps the tunnels and their keys alive, and holds the socket that takes ESP out of UDP. The
 * next daemon finds it by its control socket in the run directory. (docs/adr/0009-charon-stays.md)
 */

import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import type { Log } from "../../log/log.ts";
import { signalProcess } from "../../process/process.ts";
import { findCharon, packageOf } from "../../process/programs.ts";
import { startService } from "../../process/service.ts";
import { BackendError } from "../target.ts";
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

/** Control socket of a charon that somebody else runs, in the environment. */
export const SOCKET_VARIABLE = "CHARON_VICI_SOCKET";

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
  return await answering(() => adoptCharon(options)) ??
    await answering(() => greet(SYSTEM_SOCKET, "the charon that runs on this machine"));
}

async function greetNamed(path: string): Promise<Charon> {
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

/** Ours of a former run. */
async function adoptCharon(options: CharonOptions): Promise<Charon> {
  const charon = await greet(ownSocket(options), "the charon of a former run");
  await followLog(charon.vici, options.log);
  const kill = () => {
    const pid = ownPid(options);
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
  const socket = ownSocket(options);
  const conf = settingsFile(options);
  const plugins = installedPlugins(path);
  if (plugins !== undefined && !plugins.includes("vici")) {
    throw new BackendError(
      `charon (${path}) lacks its plugin vici, by which it is controlled; ` +
        "install it (Debian: strongswan-swanctl)",
    );
  }
  makeWay(options);
  writeSettings(conf, strongswanConf({ socket, plugins }));
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
    if (!stop.aborted) options.log.warn(`charon, process ${charon.pid}, ended with status ${code}`);
  });
  const deadline = performance.now() + START_TIMEOUT_MS;
  for (;;) {
    try {
      const greeted = await greet(socket, "a charon of our own");
      return { ...greeted, isNew: true, kill: () => charon.kill() };
    } catch (error) {
      if (!(error instanceof ViciError)) throw error;
      if (status !== undefined) {
        throw new ViciError("start", `it ended with status ${status}: ${lines.join("; ")}`);
      }
      if (stop.aborted || performance.now() > deadline) {
        charon.kill();
        stop.throwIfAborted();
        throw error;
      }
    }
    await Bun.sleep(START_POLL_MS);
  }
}

/**
 * Where charon listens unless it is told otherwise. Ours does not: another charon that is started
 * beside it takes this socket away before it sees that it cannot run.
 */
const SYSTEM_SOCKET = "/var/run/charon.vici";
/** Compiled into charon: there can be one of these at a time. */
const PID_FILE = "/var/run/charon.pid";
/** Of a charon of our own, beside its settings. */
const SOCKET_NAME = "charon.vici";
const SETTINGS_VARIABLE = "STRONGSWAN_CONF=";
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

function settingsFile({ runDirectory }: CharonOptions): string {
  return join(runDirectory, "strongswan.conf");
}

function writeSettings(path: string, text: string): void {
  try {
    mkdirSync(dirname(path), { recursive: true });
    writeFileSync(path, text, { mode: 0o600 });
  } catch (cause) {
    throw new BackendError(
      `cannot write charon's settings ${path}: ${(cause as Error).message}; choose another ` +
        "directory with --subnet-file",
      { cause },
    );
  }
}

function ownSocket({ runDirectory }: CharonOptions): string {
  const path = join(runDirectory, SOCKET_NAME);
  if (Buffer.byteLength(path) > SOCKET_PATH_MAX_BYTES) {
    throw new BackendError(
      `the path of charon's socket, ${path}, is longer than the ${SOCKET_PATH_MAX_BYTES} bytes ` +
        "that Linux allows; choose a shorter directory for --subnet-file",
    );
  }
  return path;
}

/** The charon that runs with our settings; `undefined` if there is none. */
function ownPid(options: CharonOptions): number | undefined {
  const holder = pidFileHolder();
  return holder?.isCharon && settingsOf(holder.pid) === settingsFile(options)
    ? holder.pid
    : undefined;
}

/**
 * charon refuses to start while a process has the number in its file, be it another program's by now:
 * in a container that starts anew the numbers are often the same. Throws `ViciError` if it is charon's.
 */
function makeWay(options: CharonOptions): void {
  const holder = pidFileHolder();
  if (holder === undefined) return;
  const { pid, isCharon } = holder;
  if (isCharon) throw new ViciError("start", inTheWay(pid, options));
  options.log.info(`${PID_FILE} names process ${pid}, which is not charon; removing it`);
  rmSync(PID_FILE, { force: true });
}

/** The process that charon's file names; `undefined` without such a file or process. */
function pidFileHolder(): { readonly pid: number; readonly isCharon: boolean } | undefined {
  try {
    const pid = Number(readFileSync(PID_FILE, "utf8"));
    return { pid, isCharon: readFileSync(`/proc/${pid}/comm`, "utf8").trim() === "charon" };
  } catch {
    return undefined;
  }
}

function inTheWay(pid: number, options: CharonOptions): string {
  const settings = settingsOf(pid);
  if (settings === settingsFile(options)) {
    return `the charon of a former run, process ${pid}, does not answer; end it with ` +
      `"kill -9 ${pid}"`;
  }
  const socket = settings === undefined ? undefined : socketBeside(settings);
  return `another charon, process ${pid}, runs on this host, which has room for one; use it with ` +
    `${SOCKET_VARIABLE}=${
      socket ?? "the path of its control socket"
    }, or end it with "kill ${pid}"`;
}

/** The settings file that a charon was given by who started it. */
function settingsOf(pid: number): string | undefined {
  try {
    const environment = readFileSync(`/proc/${pid}/environ`, "utf8").split("\0");
    const setting = environment.find((entry) => entry.startsWith(SETTINGS_VARIABLE));
    return setting?.slice(SETTINGS_VARIABLE.length);
  } catch {
    return undefined;
  }
}

/** Where the charon of another flanneld listens. */
function socketBeside(settings: string): string | undefined {
  const socket = join(dirname(settings), SOCKET_NAME);
  return existsSync(socket) ? socket : undefined;
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
