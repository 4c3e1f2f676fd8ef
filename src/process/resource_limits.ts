/**
 * What this process may use, as known before it begins: a limit that is too small shows later, in the
 * runtime, as an abort or as a library that cannot be opened.
 */

import { readFileSync } from "node:fs";

/** The content of a file, `undefined` if it is not there. */
export type ReadFile = (path: string) => string | undefined;

interface Need {
  /** As /proc/self/limits (proc_pid_limits(5)) names it. */
  readonly row: string;
  /** As getrlimit(2) names it. */
  readonly name: string;
  /** What the runtime cannot raise by itself: the limit that counts. */
  readonly column: "soft" | "hard";
  readonly least: number;
  /** What there is too little of, with the limit in it. */
  readonly what: (limit: number) => string;
  /** What to do about it: systemd's setting, and the option of the shell's ulimit. */
  readonly setting: string;
  readonly option: string;
  readonly isWaived?: (uid: number) => boolean;
}

/** Measured: 2.4 GiB and 2.2 GiB are the least with which it starts; with a second thread 2.6 GiB. */
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

/** Why this process cannot do its work, in one line with what to do; `undefined` if it can. */
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

/** `undefined` for none, and where it is not known. */
function limitOf(limits: string, row: string, column: "soft" | "hard"): number | undefined {
  const line = limits.split("\n").find((line) => line.startsWith(`${row} `));
  const [soft, hard] = line?.slice(row.length).trim().split(/\s+/) ?? [];
  const text = column === "soft" ? soft : hard;
  return text !== undefined && /^\d+$/.test(text) ? Number(text) : undefined;
}

/** Resident with 1000 nodes, of which some 50 MiB are the executable's own pages. */
const ENOUGH_MEMORY = 96 * 2 ** 20;

/**
 * A warning where the control group of this process leaves it little memory: the kernel ends it by
 * SIGKILL when it needs more, and it can say nothing then.
 */
export function memoryWarning(read: ReadFile = readFile): string | undefined {
  const limit = memoryLimit(read);
  if (limit === undefined || limit >= ENOUGH_MEMORY) return undefined;
  return `this process's control group is limited to ${sizeText(limit)} of memory, and flanneld ` +
    "uses some 75 MiB, 125 MiB with 10 000 nodes: the kernel may end it at any time; raise " +
    "MemoryMax= in its systemd unit, or the container's memory limit";
}

/** Of the group itself (Documentation/admin-guide/cgroup-v2.rst, and v1), not of those above it. */
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
