/**
 * The directory of one topology: logs, subnet files, etcd's data, and the record of what was
 * started, so that what a killed owner left can be removed later, and nothing else.
 *
 * A process is recorded with its start time (proc(5), field 22) and the boot it belongs to, because
 * the kernel gives process numbers out again.
 */

import { lstatSync, mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { renameSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { markedProcesses } from "../process/orphan_processes.ts";
import { namespaceOf, runningProcesses, statFields } from "../process/proc_files.ts";
import { ipBatch, TOPOLOGY_VARIABLE } from "./namespace.ts";

export interface RecordedProcess {
  readonly pid: number;
  /** Clock ticks since boot. */
  readonly startTime: string;
}

interface RecordFile {
  readonly bootId: string;
  /** The PID namespace (pid_namespaces(7)) in which the process numbers hold. */
  readonly pidNamespace: string;
  /** Who is to remove the topology; `undefined` once it is kept on purpose. */
  readonly owner?: RecordedProcess;
  readonly processes: readonly RecordedProcess[];
}

export class TopologyRecord {
  /** The directory's name, which also starts the name of each namespace. */
  readonly prefix: string;
  readonly directory: string;
  #file: RecordFile;

  private constructor(directory: string, prefix: string, file: RecordFile) {
    this.directory = directory;
    this.prefix = prefix;
    this.#file = file;
  }

  /** Takes an unused name `<kind>-<six hexadecimal digits>` and makes its directory. */
  static create(kind: string): TopologyRecord {
    for (;;) {
      const random = crypto.getRandomValues(new Uint8Array(3)).toHex();
      const prefix = `${kind}-${random}`;
      const directory = join(tmpdir(), prefix);
      const owner = { pid: process.pid, startTime: startTimeOf(process.pid) as string };
      const file = { bootId: bootId(), pidNamespace: pidNamespace(), owner, processes: [] };
      // It gets its name only with the record in it: nobody takes it for abandoned.
      const unnamed = mkdtempSync(join(tmpdir(), ".fl-"));
      writeFileSync(join(unnamed, RECORD), JSON.stringify(file), { mode: 0o600 });
      try {
        renameSync(unnamed, directory);
      } catch (error) {
        rmSync(unnamed, { recursive: true, force: true });
        if (!["EEXIST", "ENOTEMPTY"].includes((error as { code?: string }).code ?? "")) throw error;
        continue;
      }
      return new TopologyRecord(directory, prefix, file);
    }
  }

  /** The topologies of this kind on this machine, readable ones only, by name. */
  static list(kind: string): TopologyRecord[] {
    const records: TopologyRecord[] = [];
    for (const name of readdirSync(tmpdir()).sort()) {
      if (!new RegExp(`^${kind}-[0-9a-f]{6}$`).test(name)) continue;
      const directory = join(tmpdir(), name);
      if (!isOwnDirectory(directory)) continue;
      const file = readRecord(join(directory, RECORD));
      if (file !== undefined) records.push(new TopologyRecord(directory, name, file));
    }
    return records;
  }

  /** Nobody is there to remove it: its owner was killed, or kept it and ended. */
  get isAbandoned(): boolean {
    const { owner, bootId: recorded } = this.#file;
    if (owner === undefined || recorded !== bootId()) return true;
    // Of a process in another container nothing is known.
    return this.#file.pidNamespace === pidNamespace() && !isRunning(owner);
  }

  addProcess(pid: number): void {
    const startTime = startTimeOf(pid);
    if (startTime === undefined) return; // it has ended already
    this.#file = { ...this.#file, processes: [...this.#file.processes, { pid, startTime }] };
    this.#save();
  }

  /** Leaves the topology to `lab down`. */
  keep(): void {
    const { owner: _nobody, ...file } = this.#file;
    this.#file = file;
    this.#save();
  }

  /**
   * Ends the recorded processes, those with the topology's mark and every other one inside the
   * namespaces, then removes the namespaces and the directory. What is gone already is no error.
   */
  async remove(): Promise<void> {
    await endProcesses(() => this.#processes());
    // Only now: processes that a killed owner has left may have created more of them.
    await ipBatch(this.namespaces().map((name) => `netns del ${name}`));
    rmSync(this.directory, { recursive: true, force: true });
  }

  /** Names of the topology's namespaces that exist. */
  namespaces(): string[] {
    return listNamespaces().filter((name) => name.startsWith(`${this.prefix}-`));
  }

  #processes(): Processes {
    const { marked, hasStarting } = markedProcesses(
      TOPOLOGY_VARIABLE,
      new Set([this.prefix]),
    );
    const living = new Set(marked.filter((pid) => !isZombie(pid)));
    if (this.#file.bootId === bootId() && this.#file.pidNamespace === pidNamespace()) {
      for (const process of this.#file.processes) {
        if (isRunning(process)) living.add(process.pid);
      }
    }
    for (const pid of processesInNamespaces(this.namespaces())) living.add(pid);
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

interface Processes {
  readonly living: ReadonlySet<number>;
  /** Other processes are just being started: whether they are ours is not known yet. */
  readonly hasStarting: boolean;
}

/** SIGTERM, and SIGKILL to what is still there after the time that a daemon has to stop. */
async function endProcesses(look: () => Processes): Promise<void> {
  const killAt = Date.now() + TERM_TIMEOUT_MS;
  let signal: NodeJS.Signals = "SIGTERM";
  const signalled = new Set<number>();
  for (;;) {
    const { living: pids, hasStarting } = look();
    if (Date.now() > killAt) signal = "SIGKILL";
    if (pids.size === 0 && (!hasStarting || signal === "SIGKILL")) return;
    if (Date.now() > killAt + TERM_TIMEOUT_MS) {
      throw new Error(`processes ${[...pids].join(", ")} do not end`);
    }
    for (const pid of pids) {
      if (signal === "SIGTERM" && signalled.has(pid)) continue;
      signalled.add(pid);
      try {
        process.kill(pid, signal);
      } catch { /* it ended by itself */ }
    }
    await Bun.sleep(20);
  }
}

function listNamespaces(): string[] {
  try {
    return readdirSync(NETNS_DIRECTORY);
  } catch {
    return []; // made with the first namespace
  }
}

/** Every process whose network namespace is one of these: one pass over /proc. */
function processesInNamespaces(namespaces: readonly string[]): number[] {
  const inodes = new Set<string>();
  for (const name of namespaces) {
    try {
      inodes.add(`net:[${statSync(join(NETNS_DIRECTORY, name)).ino}]`);
    } catch { /* removed meanwhile */ }
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

/** A process that ended but was not waited for. */
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

/** The temporary directory is everybody's: believe only what nobody else can have written. */
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
