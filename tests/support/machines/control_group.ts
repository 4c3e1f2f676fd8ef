/**
 * A control group whose processes end together, in the version 2 hierarchy
 * (docs.kernel.org/admin-guide/cgroup-v2.html).
 */

import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmdirSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { eventually } from "../wait.ts";
import { runCommand } from "../run_command.ts";

const HIERARCHY = "/sys/fs/cgroup";
const END_MS = 30_000;
/** An empty group that is older than this was left by a test that was killed. */
const ORPHAN_MS = 10 * 60_000;

/**
 * Mounts the hierarchy in this process's mount namespace, which may not be the machine's own, and
 * removes the empty groups whose names begin with `prefix` and that killed tests have left.
 */
export async function mountControlGroups(prefix: string): Promise<void> {
  if (!existsSync(join(HIERARCHY, "cgroup.procs"))) {
    await runCommand("mount", ["-t", "cgroup2", "cgroup2", HIERARCHY]);
  }
  for (const name of readdirSync(HIERARCHY)) {
    if (name.startsWith(prefix)) removeOrphan(join(HIERARCHY, name));
  }
}

export class ControlGroup implements AsyncDisposable {
  /** A process enters the group by writing its number to this file. */
  readonly processFile: string;
  readonly #directory: string;

  constructor(name: string) {
    this.#directory = join(HIERARCHY, name);
    this.processFile = join(this.#directory, "cgroup.procs");
    mkdirSync(this.#directory);
  }

  /** Kills every process of the group and of the groups in it. */
  async kill(): Promise<void> {
    writeFileSync(join(this.#directory, "cgroup.kill"), "1");
    await eventually(`${this.#directory} is empty`, END_MS, () => isEmpty(this.#directory));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.kill();
    removeTree(this.#directory);
  }
}

function isEmpty(directory: string): boolean {
  return readFileSync(join(directory, "cgroup.events"), "utf8").includes("populated 0");
}

function removeOrphan(directory: string): void {
  try {
    const ageMs = Date.now() - statSync(directory).mtimeMs;
    if (isEmpty(directory) && ageMs > ORPHAN_MS) removeTree(directory);
  } catch (error) {
    if ((error as { code?: string }).code !== "ENOENT") throw error; // another test was faster
  }
}

/** The files of a group cannot be removed, and disappear with its directory. */
function removeTree(directory: string): void {
  for (const entry of readdirSync(directory, { withFileTypes: true })) {
    if (entry.isDirectory()) removeTree(join(directory, entry.name));
  }
  rmdirSync(directory);
}
