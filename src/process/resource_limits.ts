/**
 * Checks the resource limits of this process at startup: later, a limit that is too small would
 * abort the runtime or prevent a library from being opened.
 */

import { readFileSync } from "node:fs";

/** The content of a file; `undefined` if it cannot be read. */
export type ReadFile = (path: string) => string | undefined;

interface Need {
  /** As /proc/self/limits (proc_pid_limits(5)) names it. */
  readonly row: string;
  /** As getrlimit(2) names it. */
  readonly name: string;
  /** The limit that counts: the hard one if the runtime raises the soft one itself. */
  readonly column: "soft" | "hard";
  readonly least: number;
  /** Completes "this process is limited to …". */
  readonly what: (limit: number) => string;
  /** The remedy: systemd's setting, and the option of the shell's ulimit. */
  readonly setting: string;
  readonly option: string;
  readonly isWaived?: (uid: number) => boolean;
}

/** Measured: it starts with 2.4 GiB (AS) and 2.2 GiB (DATA), with a second thread with 2.6 GiB. */
const LEAST_ADDRESSES = 3 * 2 ** 30;

const NEEDS: readonly Need[] = [
  {
    row: "Max address space",
    name: "RLIMIT_AS",
    column: "soft",
    least: LEAST_ADDRESSES,
    what: (limit) =>
      `${sizeText(limit)} of address space; it needs ${sizeText(LEAST_ADDRESSES)}, ` +
      "of which it uses only a small part as memory",
    setting: "LimitAS=infinity",
    option: "-v unlimited",
  },
  {
    row: "Max data size",
    name: "RLIMIT_DATA",
    column: "soft",
    least: LEAST_ADDRESSES,
    what: (limit) =>
      `${sizeText(limit)} of data; it needs ${sizeText(LEAST_ADDRESSES)}, ` +
      "of which it uses only a small part as memory",
    setting: "LimitDATA=infinity",
    option: "-d unlimited",
  },
  {
    row: "Max open files",
    name: "RLIMIT_NOFILE",
    column: "hard",
    least: 64,
    what: (limit) => `${limit} open files; it needs 64`,
    setting: "LimitNOFILE=1024",
    option: "-n 1024",
  },
  {
    row: "Max processes",
    name: "RLIMIT_NPROC",
    column: "soft",
    least: 32,
    what: (limit) => `${limit} processes and threads of this user; it needs 32`,
    setting: "LimitNPROC=infinity",
    option: "-u unlimited",
    // The kernel does not count those of root.
    isWaived: (uid) => uid === 0,
  },
];

/** The first limit that is too small, in one line with what to do; `undefined` if there is none. */
export function limitProblem(
  read: ReadFile = readFile,
  uid: number = process.geteuid?.() ?? 0,
): string | undefined {
  const limits = read("/proc/self/limits") ?? "";
  for (const { row, name, column, least, what, setting, option, isWaived } of NEEDS) {
    const limit = limitOf(limits, row, column);
    if (limit === undefined || limit >= least || isWaived?.(uid)) continue;
    return `this process is limited to ${
      what(limit)
    }: set ${setting} in its systemd unit, or run ` +
      `"ulimit ${option}" before it (${name})`;
  }
  return undefined;
}

/**
 * RLIMIT_NOFILE of this process, which the runtime has raised to the hard limit; `undefined` if
 * unknown.
 */
export function openFilesLimit(): number | undefined {
  return limitOf(readFile("/proc/self/limits") ?? "", "Max open files", "soft");
}

/** `undefined` if it is unlimited or unknown. */
function limitOf(limits: string, row: string, column: "soft" | "hard"): number | undefined {
  const line = limits.split("\n").find((line) => line.startsWith(`${row} `));
  const [soft, hard] = line?.slice(row.length).trim().split(/\s+/) ?? [];
  const text = column === "soft" ? soft : hard;
  return text !== undefined && /^\d+$/.test(text) ? Number(text) : undefined;
}

/** Resident with 1000 nodes at the start; some 50 MiB of it are pages of the executable. */
const ENOUGH_MEMORY = 96 * 2 ** 20;

/**
 * A warning if the control group of this process has little memory: the kernel kills the process
 * without a message when it exceeds the limit.
 */
export function memoryWarning(read: ReadFile = readFile): string | undefined {
  const limit = memoryLimit(read);
  if (limit === undefined || limit >= ENOUGH_MEMORY) return undefined;
  return `this process's control group is limited to ${sizeText(limit)} of memory, and flanneld ` +
    "uses some 75 MiB while it starts, and more with many nodes: the kernel may kill it at any " +
    "time; raise MemoryMax= in its systemd unit, or the container's memory limit";
}

/**
 * The group's own limit (Documentation/admin-guide/cgroup-v2.rst, and v1), without its ancestors'.
 */
function memoryLimit(read: ReadFile): number | undefined {
  for (const line of (read("/proc/self/cgroup") ?? "").split("\n")) {
    const [, controllers, path] = /^\d+:([^:]*):(\/.*)$/.exec(line) ?? [];
    if (path === undefined) continue;
    const [root, file] = controllers === ""
      ? ["/sys/fs/cgroup", "memory.max"]
      : ["/sys/fs/cgroup/memory", "memory.limit_in_bytes"];
    if (controllers !== "" && !controllers?.split(",").includes("memory")) continue;
    // In a container the group may be mounted as the root.
    const text = read(`${root}${path}/${file}`) ?? read(`${root}/${file}`);
    if (text !== undefined && /^\d+$/.test(text.trim())) return Number(text);
  }
  return undefined;
}

function sizeText(bytes: number): string {
  const [unit, size] = bytes >= 2 ** 30 ? ["GiB", 2 ** 30] : ["MiB", 2 ** 20];
  return `${Math.floor(bytes / (size as number) * 10) / 10} ${unit}`;
}

function readFile(path: string): string | undefined {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return undefined;
  }
}
