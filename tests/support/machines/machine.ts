/** A Debian machine: systemd is its PID 1, started by systemd-nspawn(1) in namespaces. */

import { mkdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import type { Family } from "../../../src/addr/ip.ts";
import { programEnvironment } from "../../../src/process/program_lookup.ts";
import { type DetachedProcess, startDetached } from "../../../src/process/detached_process.ts";
import { runProgram } from "../../../src/process/run_program.ts";
import { eventually } from "../wait.ts";
import { runCommand } from "../run_command.ts";
import { ControlGroup } from "./control_group.ts";
import {
  connectMachine,
  disconnectMachine,
  type MachinePlace,
  privateAddresses,
} from "./machine_network.ts";

const BOOT_MS = 120_000;
/** Of all units; those of cloud-init install programs. */
const UNITS_MS = 300_000;
const SHUTDOWN_MS = 60_000;
const SCRIPT_MS = 120_000;

export interface MachineOptions {
  /** The beginning of the names of its namespaces and of its control group. */
  readonly prefix: string;
  /** From 1 to 9. */
  readonly number: number;
  /** Directories that it sees as one root file system, the uppermost first; never written. */
  readonly layers: readonly string[];
  /** Where its own files and its console's log are. */
  readonly directory: string;
  /** System calls that systemd-nspawn(1) forbids otherwise. */
  readonly systemCalls: readonly string[];
}

export class Machine implements AsyncDisposable {
  /** `node1`, `node2`, …; also its host name. */
  readonly name: string;
  readonly place: MachinePlace;
  readonly #directory: string;
  readonly #systemCalls: readonly string[];
  readonly #group: ControlGroup;
  #container: DetachedProcess | undefined;
  /** Its PID 1, as the test sees it; undefined while it is off. */
  #init: number | undefined;

  private constructor(
    { prefix, number, directory, systemCalls }: MachineOptions,
    group: ControlGroup,
  ) {
    this.name = `node${number}`;
    const namespace = `${prefix}-${this.name}`;
    this.place = {
      number,
      namespace,
      routerNamespace: `${namespace}-router`,
      workloadNamespace: `${namespace}-workload`,
    };
    this.#directory = directory;
    this.#systemCalls = systemCalls;
    this.#group = group;
  }

  /** Makes the machine's disk; it is off. */
  static async create(options: MachineOptions): Promise<Machine> {
    const { directory, layers, prefix, number } = options;
    const [upper, work, root] = ["upper", "work", "root"].map((name) => join(directory, name));
    for (const path of [upper, work, root]) mkdirSync(path as string, { recursive: true });
    const overlay = `lowerdir=${layers.join(":")},upperdir=${upper},workdir=${work}`;
    await runCommand("mount", ["-t", "overlay", "-o", overlay, "overlay", root as string]);
    return new Machine(options, new ControlGroup(`${prefix}-node${number}`));
  }

  /** Its address on the private network, eth1. */
  address(family: Family): string {
    return privateAddresses(this.place.number)[family];
  }

  /** Boots it; resolves when all units of the default target are started. Throws if one fails. */
  async boot(): Promise<void> {
    await connectMachine(this.place);
    this.#container = startDetached("sh", [
      "-c",
      'echo $$ >"$0" && exec "$@"',
      this.#group.processFile,
      ...containerCommand(this.name, this.place.namespace, join(this.#directory, "root")),
      ...this.#systemCalls.map((name) => `--system-call-filter=${name}`),
    ], { logFile: this.#consoleFile, env: CONTAINER_ENVIRONMENT });
    this.#init = await this.#awaitInit(this.#container);
    const { stdout } = await this.#nsenter(AWAIT_BOOT, { timeoutMs: UNITS_MS });
    if (stdout.trim() !== "running") {
      const failed = await this.run("systemctl --failed --no-legend --plain");
      throw new Error(`${this.name} is ${stdout.trim()}; these units failed: ${failed.trim()}`);
    }
  }

  /** Shuts it down in order, as `poweroff` does; it can boot again and has the same disk. */
  async shutDown(): Promise<void> {
    const container = this.#container;
    container?.signal("SIGTERM");
    let hasEnded = false;
    container?.exited.then(() => hasEnded = true);
    await eventually(`${this.name} has shut down`, SHUTDOWN_MS, () => hasEnded);
    await this.#disconnect();
  }

  /** As if its power was cut: nothing on it is notified. */
  async cutPower(): Promise<void> {
    await this.#group.kill();
    await this.#container?.exited;
    await this.#disconnect();
  }

  /** Runs a shell script (sh -e) on it, as root; returns its output. Throws when it fails. */
  async run(script: string, stdin?: string | Uint8Array): Promise<string> {
    const input = stdin === undefined ? {} : { stdin };
    const { exitCode, stdout, stderr } = await this.#nsenter(script, input);
    if (exitCode === 0) return stdout;
    throw new Error(`on ${this.name}, this failed: ${script}\n${stdout}${stderr}`);
  }

  /** Writes a file; directories are made as needed. The machine is on or off. */
  async write(path: string, content: string | Uint8Array, mode = 0o644): Promise<void> {
    const script = `mkdir -p "$(dirname ${path})" && cat >${path} && chmod ${
      mode.toString(8)
    } ${path}`;
    if (this.#init !== undefined) return void await this.run(script, content);
    // chroot, because a symbolic link on the machine's disk may not lead to a file of the host
    const root = join(this.#directory, "root");
    await runCommand("chroot", [root, "sh", "-ec", script], content);
  }

  /** The journal's messages of a unit since the machine booted, without times. */
  async journal(unit: string): Promise<string> {
    return await this.run(`journalctl --boot --unit ${unit} --output cat --no-pager`);
  }

  /** A path for a file of the test about this machine; the machine does not see it. */
  file(name: string): string {
    return join(this.#directory, name);
  }

  /** What systemd and systemd-nspawn have written since the first boot. */
  console(): string {
    return readFileSync(this.#consoleFile, "utf8");
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.cutPower();
    await this.#group[Symbol.asyncDispose]();
    await runCommand("umount", [join(this.#directory, "root")]);
  }

  get #consoleFile(): string {
    return join(this.#directory, "console.log");
  }

  async #disconnect(): Promise<void> {
    this.#init = undefined;
    await disconnectMachine(this.place);
  }

  /** The child of systemd-nspawn that is process 1 of a namespace of its own. */
  async #awaitInit(container: DetachedProcess): Promise<number> {
    let hasEnded = false;
    container.exited.then(() => hasEnded = true);
    return await eventually(`${this.name} has a PID 1`, BOOT_MS, () => {
      if (hasEnded) throw new Error(`systemd-nspawn has ended: ${this.console()}`);
      const children = readFileSync(
        `/proc/${container.pid}/task/${container.pid}/children`,
        "utf8",
      );
      return children.trim().split(" ").map(Number).find(isFirstProcess);
    });
  }

  async #nsenter(
    script: string,
    options: { readonly stdin?: string | Uint8Array; readonly timeoutMs?: number },
  ): ReturnType<typeof runProgram> {
    if (this.#init === undefined) throw new Error(`${this.name} is off`);
    return await runProgram("nsenter", [
      ...[
        "--target",
        String(this.#init),
        "--mount",
        "--uts",
        "--ipc",
        "--net",
        "--pid",
        "--cgroup",
      ],
      ...["--root", "--wd", "--", "sh", "-ec", script],
    ], { env: LOGIN_ENVIRONMENT, timeoutMs: SCRIPT_MS, ...options });
  }
}

/** systemd-nspawn(1): no machined, no journal and no files of the host. */
function containerCommand(name: string, namespace: string, root: string): string[] {
  return [
    ...["systemd-nspawn", "--quiet", "--boot", "--register=no", "--keep-unit", "--settings=no"],
    ...[`--directory=${root}`, `--machine=${name}`, `--hostname=${name}`],
    `--network-namespace-path=/run/netns/${namespace}`,
    ...["--resolv-conf=off", "--timezone=off", "--link-journal=no", "--console=pipe"],
    "--capability=CAP_NET_ADMIN,CAP_NET_RAW",
  ];
}

/** systemctl(1): the state of the machine when its boot has ended. */
const AWAIT_BOOT = `until [ -S /run/systemd/private ]; do sleep 0.1; done
systemctl is-system-running --wait || true`;

const LOGIN_ENVIRONMENT = {
  PATH: "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
  HOME: "/root",
  TERM: "dumb",
  LC_ALL: "C",
};

const CONTAINER_ENVIRONMENT = {
  ...programEnvironment(),
  // /proc/sys/net belongs to the machine's network namespace, and is writable, as on a machine.
  SYSTEMD_NSPAWN_API_VFS_WRITABLE: "network",
};

/** Whether a process has number 1 in the PID namespace in which it was born (proc(5), NSpid). */
function isFirstProcess(pid: number): boolean {
  try {
    return /^NSpid:\t.*\t1$/m.test(readFileSync(`/proc/${pid}/status`, "utf8"));
  } catch {
    return false; // it has just ended
  }
}
