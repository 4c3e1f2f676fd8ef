/**
 * The directory of one topology: logs, subnet files, the data of etcd, and a record of the
 * processes that were started. With the record, another process can remove the topology of a killed
 * owner, and nothing else.
 *
 * A process is recorded with its start time (proc(5), field 22) and its boot, because the kernel
 * reuses process numbers.
 */

import {
  lstatSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { markedProcesses } from "../process/orphan_processes.ts";
import { namespaceOf, runningProcesses, statFields } from "../process/proc_files.ts";
import type { Clock } from "../base/clock.ts";
import { ipBatch, TOPOLOGY_VARIABLE } from "./namespace.ts";
import { poll } from "./poll.ts";

export interface RecordedProcess {
  readonly pid: number;
  /** Clock ticks since boot. */
  readonly startTime: string;
  readonly stopSignal?: StopSignal;
}

/** SIGKILL is for a program whose data are removed anyway and that takes long to end. */
export type StopSignal = "SIGTERM" | "SIGKILL";

interface RecordFile {
  readonly bootId: string;
  /** The PID namespace (pid_namespaces(7)) of the process numbers. */
  readonly pidNamespace: string;
  /** The process that will remove the topology; `undefined` for a kept one. */
  readonly owner?: RecordedProcess;
  readonly processes: readonly RecordedProcess[];
}

export class TopologyRecord {
  /** The name of the directory, and the beginning of the name of each namespace. */
  readonly prefix: string;
  readonly directory: string;
  readonly #clock: Clock;
  #file: RecordFile;

  private constructor(prefix: string, file: RecordFile, clock: Clock) {
    this.directory = join(tmpdir(), prefix);
    this.prefix = prefix;
    this.#clock = clock;
    this.#file = file;
  }

  /** Creates a directory with an unused name `<kind>-<six hexadecimal digits>`. */
  static create(kind: string, clock: Clock): TopologyRecord {
    for (;;) {
      const random = crypto.getRandomValues(new Uint8Array(3)).toHex();
      const prefix = `${kind}-${random}`;
      const owner = { pid: process.pid, startTime: startTimeOf(process.pid) as string };
      const file = { bootId: bootId(), pidNamespace: pidNamespace(), owner, processes: [] };
      // Gets its name only with the record in it; without one it would look like an orphan.
      const unnamed = mkdtempSync(join(tmpdir(), ".fl-"));
      writeFileSync(join(unnamed, RECORD), JSON.stringify(file), { mode: 0o600 });
      try {
        renameSync(unnamed, join(tmpdir(), prefix));
      } catch (error) {
        rmSync(unnamed, { recursive: true, force: true });
        if (!["EEXIST", "ENOTEMPTY"].includes((error as { code?: string }).code ?? "")) throw error;
        continue;
      }
      return new TopologyRecord(prefix, file, clock);
    }
  }

  /** The topologies of this kind and this user on this machine, by name. */
  static list(kind: string, clock: Clock): TopologyRecord[] {
    const records: TopologyRecord[] = [];
    for (const name of readdirSync(tmpdir()).sort()) {
      if (!new RegExp(`^${kind}-[0-9a-f]{6}$`).test(name)) continue;
      const directory = join(tmpdir(), name);
      if (!isOwnDirectory(directory)) continue;
      const file = readRecord(join(directory, RECORD));
      if (file !== undefined) records.push(new TopologyRecord(name, file, clock));
    }
    return records;
  }

  /** The owner was killed, or kept the topology. */
  get isOrphan(): boolean {
    const { owner, bootId: recorded } = this.#file;
    if (owner === undefined || recorded !== bootId()) return true;
    // A process in another PID namespace cannot be seen.
    return this.#file.pidNamespace === pidNamespace() && !isRunning(owner);
  }

  addProcess(pid: number, stopSignal: StopSignal = "SIGTERM"): void {
    const startTime = startTimeOf(pid);
    if (startTime === undefined) return; // it has already ended
    const process = { pid, startTime, stopSignal };
    this.#file = { ...this.#file, processes: [...this.#file.processes, process] };
    this.#save();
  }

  /** Leaves the removal of the topology to `lab down`. */
  keep(): void {
    const { owner: _, ...file } = this.#file;
    this.#file = file;
    this.#save();
  }

  /**
   * Ends the recorded processes, those with the topology's mark, and all others in the namespaces;
   * then removes the namespaces and the directory. It is no error if some of this is already gone.
   */
  async remove(): Promise<void> {
    await endProcesses(() => this.#processes(), this.#clock);
    // Listed only now: orphaned processes may have created more of them.
    await ipBatch(this.namespaces().map((name) => `netns del ${name}`));
    rmSync(this.directory, { recursive: true, force: true });
  }

  /** Names of the topology's namespaces, as far as they exist. */
  namespaces(): string[] {
    return listNamespaces().filter((name) => name.startsWith(`${this.prefix}-`));
  }

  #processes(): Processes {
    const { marked, hasStarting } = markedProcesses(
      TOPOLOGY_VARIABLE,
      new Set([this.prefix]),
    );
    const others = [...marked, ...processesInNamespaces(this.namespaces())];
    const living = new Map<number, StopSignal>(
      others.filter((pid) => !isZombie(pid)).map((pid) => [pid, "SIGTERM"]),
    );
    if (this.#file.bootId === bootId() && this.#file.pidNamespace === pidNamespace()) {
      for (const process of this.#file.processes) {
        if (isRunning(process)) living.set(process.pid, process.stopSignal ?? "SIGTERM");
      }
    }
    return { living, hasStarting };
  }

  #save(): void {
    const path = join(this.directory, RECORD);
    writeFileSync(`${path}.new`, JSON.stringify(this.#file), { mode: 0o600 });
    renameSync(`${path}.new`, path);
  }
}

const RECORD = "record.json";
const NETNS_DIRECTORY = "/run/netns";
const TERM_TIMEOUT_MS = 5_000;
/** The kernel frees the memory of a killed process first: seconds, in a busy virtual machine. */
const KILL_TIMEOUT_MS = 60_000;

interface Processes {
  readonly living: ReadonlyMap<number, StopSignal>;
  /** Some processes are just being started, and may turn out to belong to the topology. */
  readonly hasStarting: boolean;
}

/**
 * Sends each its signal, and SIGKILL to those that still run after the time a daemon has to stop.
 */
async function endProcesses(find: () => Processes, clock: Clock): Promise<void> {
  const killAtMs = clock.nowMs() + TERM_TIMEOUT_MS;
  const signalled = new Set<number>();
  let remaining: readonly number[] = [];
  const haveEnded = () => {
    const { living, hasStarting } = find();
    const mustKill = clock.nowMs() > killAtMs;
    if (living.size === 0 && (!hasStarting || mustKill)) return true;
    remaining = [...living.keys()];
    for (const [pid, stopSignal] of living) {
      if (!mustKill && signalled.has(pid)) continue;
      signalled.add(pid);
      send(pid, mustKill ? "SIGKILL" : stopSignal);
    }
    return false;
  };
  const options = { clock, intervalMs: 20, timeoutMs: TERM_TIMEOUT_MS + KILL_TIMEOUT_MS };
  if (await poll(haveEnded, options)) return;
  throw new Error(`processes ${remaining.join(", ")} did not end after SIGKILL`);
}

function send(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(pid, signal);
  } catch { /* it has already ended */ }
}

function listNamespaces(): string[] {
  try {
    return readdirSync(NETNS_DIRECTORY);
  } catch {
    return []; // created with the first namespace
  }
}

/** The processes in these network namespaces, by one pass over /proc. */
function processesInNamespaces(namespaces: readonly string[]): number[] {
  const inodes = new Set<string>();
  for (const name of namespaces) {
    try {
      inodes.add(`net:[${statSync(join(NETNS_DIRECTORY, name)).ino}]`);
    } catch { /* just removed */ }
  }
  if (inodes.size === 0) return [];
  return runningProcesses().filter((pid) =>
    inodes.has(namespaceOf(pid, "net") ?? "") && !isZombie(pid)
  );
}

function isRunning(process: RecordedProcess): boolean {
  return startTimeOf(process.pid) === process.startTime && !isZombie(process.pid);
}

/** Field 22 of proc_pid_stat(5). */
function startTimeOf(pid: number): string | undefined {
  return statFields(pid)?.[19];
}

/** A process that has ended, but whose parent has not waited for it. */
function isZombie(pid: number): boolean {
  const state = statFields(pid)?.[0];
  return state === undefined || state === "Z" || state === "X";
}

function bootId(): string {
  return readFileSync("/proc/sys/kernel/random/boot_id", "utf8").trim();
}

function pidNamespace(): string {
  return namespaceOf("self", "pid") ?? "";
}

/**
 * Any user can write to the temporary directory; only a directory that no other user can write is
 * trusted.
 */
function isOwnDirectory(path: string): boolean {
  try {
    const stat = lstatSync(path);
    return stat.isDirectory() && stat.uid === process.getuid?.() && (stat.mode & 0o077) === 0;
  } catch {
    return false;
  }
}

function readRecord(path: string): RecordFile | undefined {
  try {
    const value: unknown = JSON.parse(readFileSync(path, "utf8"));
    return isRecordFile(value) ? value : undefined;
  } catch {
    return undefined; // not ours
  }
}

function isRecordFile(value: unknown): value is RecordFile {
  const isProcess = (item: unknown) => {
    const process = item as Partial<RecordedProcess> | null;
    return Number.isInteger(process?.pid) && typeof process?.startTime === "string";
  };
  const file = value as Partial<RecordFile> | null;
  return typeof file?.bootId === "string" && typeof file.pidNamespace === "string" &&
    Array.isArray(file.processes) &&
    file.processes.every(isProcess) && (file.owner === undefined || isProcess(file.owner));
}
