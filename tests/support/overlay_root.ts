/**
 * A copy of this machine's files in which a test may change everything: an overlay in memory, in
 * the mount namespace that tests/run.sh makes.
 */

import { chmodSync, mkdirSync, mkdtempSync, rmdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { runProgram, type RunResult } from "../../src/process/run_program.ts";
import { runCommand } from "./run_command.ts";

/** All that it has of /dev. */
const DEVICES = ["null", "zero", "random", "urandom"];
const PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
const RUN_MS = 120_000;

export class OverlayRoot implements AsyncDisposable {
  /** The directory that is its `/`. */
  readonly path: string;
  readonly #directory: string;

  static async create(): Promise<OverlayRoot> {
    const directory = mkdtempSync(join(tmpdir(), "root-"));
    await runCommand("mount", ["-t", "tmpfs", "tmpfs", directory]);
    const [upper, work, root] = ["upper", "work", "root"].map((name) => join(directory, name)) as [
      string,
      string,
      string,
    ];
    for (const path of [upper, work, root]) mkdirSync(path, { mode: 0o755 });
    const layers = `lowerdir=/,upperdir=${upper},workdir=${work}`;
    await runCommand("mount", ["-t", "overlay", "overlay", "-o", layers, root]);
    for (const name of ["run", "dev"]) {
      await runCommand("mount", ["-t", "tmpfs", "-o", "mode=755", "tmpfs", join(root, name)]);
    }
    await runCommand("mount", ["-t", "proc", "proc", join(root, "proc")]);
    for (const name of DEVICES) {
      writeFileSync(join(root, "dev", name), "");
      await runCommand("mount", ["--bind", `/dev/${name}`, join(root, "dev", name)]);
    }
    return new OverlayRoot(directory, root);
  }

  private constructor(directory: string, path: string) {
    this.#directory = directory;
    this.path = path;
  }

  /** Writes a file; `path` is absolute. */
  write(path: string, content: string | Uint8Array, mode = 0o644): void {
    const target = join(this.path, path);
    mkdirSync(dirname(target), { recursive: true });
    writeFileSync(target, content);
    chmodSync(target, mode);
  }

  remove(...paths: readonly string[]): void {
    for (const path of paths) rmSync(join(this.path, path), { recursive: true, force: true });
  }

  /** Runs a program in it, with these variables alone. */
  run(
    command: readonly string[],
    env: Readonly<Record<string, string>> = {},
  ): Promise<RunResult> {
    return runProgram("chroot", [this.path, ...command], {
      env: { PATH, HOME: "/root", LC_ALL: "C", ...env },
      timeoutMs: RUN_MS,
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await runCommand("umount", ["--recursive", this.#directory]);
    rmdirSync(this.#directory);
  }
}
