/** One run of a flanneld, ours or another, in a host of the bench, with its costs accounted. */

import { existsSync, mkdirSync, readFileSync, rmdirSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { LabHost } from "../../src/lab/topology.ts";
import { type DetachedProcess, startDetached } from "../../src/process/detached_process.ts";

/** A program to measure. */
export interface Program {
  readonly name: string;
  readonly path: string;
}

export interface DaemonStart {
  readonly program: Program;
  readonly host: LabHost;
  /** For the subnet file and the log; must exist. */
  readonly directory: string;
  /** The flags that name the store. */
  readonly store: readonly string[];
  readonly flags: readonly string[];
  /** Added to the environment. */
  readonly env?: Readonly<Record<string, string>>;
}

/**
 * A running daemon in a control group (cgroup v2) of its own: the group's CPU time includes that of
 * every program that the daemon started, to the microsecond.
 */
export class BenchDaemon {
  readonly startedAt: number;
  readonly subnetFile: string;
  readonly logFile: string;
  readonly #process: DetachedProcess;
  readonly #group: string;

  constructor(start: DaemonStart) {
    const name = `${start.host.namespace}-${start.program.name.replaceAll(/\W/g, "_")}`;
    this.subnetFile = join(start.directory, `${name}.env`);
    this.logFile = join(start.directory, `${name}.log`);
    this.#group = join(cgroupMount(), name);
    mkdirSync(this.#group);
    const runDirectory = join(start.directory, `${name}-run`);
    mkdirSync(runDirectory);
    const args = [
      start.program.path,
      ...start.store,
      `--subnet-file=${this.subnetFile}`,
      "--iface=eth0",
      ...start.flags,
    ];
    this.startedAt = performance.now();
    this.#process = startDetached(
      "sh",
      [
        "-c",
        'echo $$ >"$0/cgroup.procs"; exec "$@"',
        this.#group,
        ...["ip", "netns", "exec", start.host.namespace],
        // A /run of its own, or all daemons of the bench would wait for one iptables lock.
        ...["sh", "-c", 'mount --bind "$0" /run && exec "$@"', runDirectory],
        ...args,
      ],
      {
        logFile: this.logFile,
        env: { PATH: process.env["PATH"] ?? "", ...start.env },
        workingDirectory: start.directory,
      },
    );
  }

  get pid(): number {
    return this.#process.pid;
  }

  get hasSubnetFile(): boolean {
    return existsSync(this.subnetFile);
  }

  get logBytes(): number {
    return statSync(this.logFile).size;
  }

  /** Throws with the end of the log if the daemon has ended. */
  async assertAlive(): Promise<void> {
    const ended = await Promise.race([this.#process.exited, Bun.sleep(0).then(() => undefined)]);
    if (ended === undefined) return;
    const log = readFileSync(this.logFile, "utf8").trimEnd().split("\n").slice(-10).join("\n");
    throw new Error(`the daemon ended with code ${ended}:\n${log}`);
  }

  /** CPU time of the daemon and of all it started, in seconds. */
  cpuSeconds(): number {
    const text = readFileSync(join(this.#group, "cpu.stat"), "utf8");
    return Number(/^usage_usec (\d+)$/m.exec(text)?.[1]) / 1e6;
  }

  /** SIGTERM as an operator sends it; after 5 s, SIGKILL. */
  async stop(): Promise<void> {
    this.#process.signal("SIGTERM");
    const ended = this.#process.exited.then(() => true);
    const inTime = await Promise.race([ended, Bun.sleep(5_000).then(() => false)]);
    if (!inTime) this.kill();
    await this.#process.exited;
    await removeGroup(this.#group);
  }

  /** Ends the daemon and everything that it started, at once. */
  kill(): void {
    writeFileSync(join(this.#group, "cgroup.kill"), "1");
  }
}

/** The unified hierarchy's mount point; a hybrid system has it next to the old ones. */
function cgroupMount(): string {
  for (const line of readFileSync("/proc/self/mounts", "utf8").split("\n")) {
    const [, mountPoint, type] = line.split(" ");
    if (type === "cgroup2" && mountPoint) return mountPoint;
  }
  throw new Error("the bench needs a mounted cgroup v2 hierarchy to account for CPU time");
}

/** A group can be removed once its last process has been waited for. */
async function removeGroup(path: string): Promise<void> {
  for (let attempt = 0;; attempt++) {
    try {
      return rmdirSync(path);
    } catch (error) {
      if (attempt === 100) throw error;
      if (attempt === 0) writeFileSync(join(path, "cgroup.kill"), "1");
      await Bun.sleep(20);
    }
  }
}
