/**
 * Podman with runc for one test, with images, containers and settings of its own.
 *
 *     await using podman = await Podman.create();
 *     await podman.load("image.tar");
 *     host.start({ bare: true, binary: podman.program(host, { name: "daemon", … }), flags });
 */

import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { shellQuoted } from "../../src/base/quoting.ts";
import { programEnvironment } from "../../src/process/program_lookup.ts";
import { runProgram } from "../../src/process/run_program.ts";
import type { Host } from "./host.ts";
import { ControlGroup, mountControlGroups } from "./machines/control_group.ts";

export interface ContainerOptions {
  /** Unique among the containers. */
  readonly name: string;
  readonly image: string;
  /** Options of `podman run`. */
  readonly options: readonly string[];
}

export class Podman implements AsyncDisposable {
  readonly #directory: string;
  readonly #environment: Readonly<Record<string, string>>;
  /** All containers are in it. */
  readonly #groupName = `${GROUP_PREFIX}-podman-${crypto.randomUUID().slice(0, 8)}`;
  readonly #group = new ControlGroup(this.#groupName);

  /** By default, runc has its state in /run, which each host has for itself. */
  readonly #runtimeFlag: string;

  private constructor(directory: string) {
    this.#directory = directory;
    this.#runtimeFlag = `--runtime-flag=root=${join(directory, "runc")}`;
    this.#environment = {
      CONTAINERS_CONF: join(directory, "containers.conf"),
      CONTAINERS_STORAGE_CONF: join(directory, "storage.conf"),
    };
    for (const [name, text] of Object.entries(settings(directory, this.#environment))) {
      writeFileSync(join(directory, name), text);
    }
  }

  static async create(): Promise<Podman> {
    await mountControlGroups(GROUP_PREFIX);
    return new Podman(mkdtempSync(join(tmpdir(), "podman-")));
  }

  /** Loads the image for this machine from an OCI archive. */
  async load(archive: string): Promise<void> {
    await this.run(["load", "--quiet", "--input", archive], LOAD_MS);
  }

  /** The process of a running container, as the test sees it. */
  async processOf(name: string): Promise<number> {
    return Number(await this.run(["inspect", "--format", "{{.State.Pid}}", name]));
  }

  /**
   * Stops a container, as an upgrade does, and removes it; returns its exit code. (Signals to
   * `podman run` take 20 s longer.)
   */
  async stop(name: string): Promise<number> {
    await this.run(["stop", "--time=30", name]);
    const code = await this.run(["inspect", "--format", "{{.State.ExitCode}}", name]);
    await this.run(["rm", name]);
    return Number(code);
  }

  /** Runs podman and returns its output. Throws when it fails. */
  async run(args: readonly string[], timeoutMs = COMMAND_MS): Promise<string> {
    const env = { ...programEnvironment(), ...this.#environment };
    const { exitCode, stdout, stderr } = await runProgram(
      "podman",
      [this.#runtimeFlag, ...args],
      { env, timeoutMs },
    );
    if (exitCode === 0) return stdout;
    throw new Error(`podman ${args.join(" ")} failed: ${stderr.trim()}`);
  }

  /**
   * A program that runs a container in the network of a host, with the arguments that it gets.
   */
  program({ directory }: Host, { name, image, options }: ContainerOptions): string {
    const script = join(directory, `container-${name}`);
    const variables = Object.entries(this.#environment).map(([key, path]) => `${key}=${path}`);
    const words = (list: readonly string[]) => list.map(shellQuoted).join(" ");
    const command = [
      ...["podman", this.#runtimeFlag, "run", `--name=${name}`, "--network=host"],
      `--cgroup-parent=/${this.#groupName}`,
      ...options,
      image,
    ];
    const text = [
      "#!/bin/sh",
      "set -eu",
      "mount -t cgroup2 cgroup2 /sys/fs/cgroup # `ip netns exec` has mounted another /sys",
      `export ${words(variables)}`,
      `exec ${words(command)} "$@"`,
    ];
    writeFileSync(script, text.join("\n") + "\n", { mode: 0o755 });
    return script;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await using _group = this.#group;
    await this.run(["rm", "--all", "--force", "--time=0"]);
    rmSync(this.#directory, { recursive: true });
  }
}

const GROUP_PREFIX = "flanneld-test";
const COMMAND_MS = 60_000;
const LOAD_MS = 180_000;

/** containers.conf(5), containers-storage.conf(5) */
function settings(
  directory: string,
  environment: Readonly<Record<string, string>>,
): Record<string, string> {
  const variables = Object.entries({ PATH: process.env["PATH"] ?? "", ...environment })
    .map(([name, value]) => JSON.stringify(`${name}=${value}`));
  const folder = (name: string) => {
    const path = join(directory, name);
    mkdirSync(path);
    return JSON.stringify(path);
  };
  return {
    "containers.conf": `[engine]
cgroup_manager = "cgroupfs"
# Otherwise the end of a container would be recorded in the storage of this machine.
conmon_env_vars = [${variables.join(", ")}]
events_logger = "none"
runtime = "runc"
static_dir = ${folder("static")}
tmp_dir = ${folder("tmp")}
volume_path = ${folder("volumes")}
[containers]
log_driver = "none"
pids_limit = 0 # needs a controller that the parent group does not have
`,
    "storage.conf": `[storage]
driver = "overlay"
graphroot = ${folder("graph")}
runroot = ${folder("run")}
`,
  };
}
