/**
 * Debian machines with systemd as PID 1, for one test:
 *
 *     await using machines = await Machines.create({ count: 3, files: [...] });
 *     await machines.boot();
 *     await machines.at(1).run("systemctl start flannel-datastore");
 *
 * They have the links of Vagrant machines (./machine_network.ts). Everything is in the namespaces
 * that tests/run.sh makes for a test, and in control groups. Disposing ends every process; a
 * killed test leaves nothing but empty control groups, which a later test removes.
 */

import {
  chmodSync,
  copyFileSync,
  mkdirSync,
  mkdtempSync,
  readlinkSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { provided } from "../provided.ts";
import { mountControlGroups } from "./control_group.ts";
import { Machine } from "./machine.ts";
import { createBridge, removeBridge } from "./machine_network.ts";
import { runCommand } from "../run_command.ts";

/** A file that all machines have when they boot. */
export interface MachineFile {
  /** Absolute; below /usr rather than /bin, /lib and /sbin, which are links. */
  readonly path: string;
  readonly content: string | { readonly copyOf: string };
  /** 0644 by default. */
  readonly mode?: number;
}

export interface MachinesOptions {
  /** From 1 to 9. */
  readonly count: number;
  /** The list of packages in tests/deliver/machine_roots; "debian" by default. */
  readonly root?: string;
  readonly files?: readonly MachineFile[];
  /** System calls that its programs need and systemd-nspawn(1) forbids. */
  readonly systemCalls?: readonly string[];
}

export class Machines implements AsyncDisposable {
  /** The beginning of the names of their namespaces and control groups. */
  readonly prefix: string;
  readonly all: readonly Machine[];
  readonly #cleanup: AsyncDisposableStack;

  private constructor(prefix: string, all: readonly Machine[], cleanup: AsyncDisposableStack) {
    this.prefix = prefix;
    this.all = all;
    this.#cleanup = cleanup;
  }

  /** Makes the machines; they are off. Throws outside of tests/run.sh. */
  static async create(options: MachinesOptions): Promise<Machines> {
    requireOwnNamespaces();
    const { count, root = "debian", files = [], systemCalls = [] } = options;
    const layer = await provided("deliver/machine_root.sh", { args: [root], timeoutMs: ROOT_MS });
    await mountControlGroups(PREFIX);
    await using cleanup = new AsyncDisposableStack();
    const directory = await mountDirectory(cleanup);
    writeLayer(join(directory, "files"), files);
    await createBridge();
    cleanup.defer(removeBridge);
    const prefix = `${PREFIX}-${crypto.randomUUID().slice(0, 8)}`;
    const all: Machine[] = [];
    for (let number = 1; number <= count; number++) {
      all.push(cleanup.use(
        await Machine.create({
          prefix,
          number,
          layers: [join(directory, "files"), layer],
          directory: join(directory, String(number)),
          systemCalls,
        }),
      ));
    }
    return new Machines(prefix, all, cleanup.move());
  }

  /** Machine `number`, counted from 1. */
  at(number: number): Machine {
    const machine = this.all[number - 1];
    if (machine === undefined) throw new RangeError(`there is no machine ${number}`);
    return machine;
  }

  /** Boots all of them at the same time, and waits for all; throws the first failure. */
  async boot(): Promise<void> {
    const results = await Promise.allSettled(this.all.map((machine) => machine.boot()));
    for (const result of results) {
      if (result.status === "rejected") throw result.reason;
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#cleanup.disposeAsync();
  }
}

const PREFIX = "flanneld-test";
/** Usually it is there; otherwise Debian's packages are downloaded. */
const ROOT_MS = 900_000;
const FIRST_PID_NAMESPACE = "pid:[4026531836]"; // PROC_PID_INIT_INO, linux/proc_ns.h

/** The machine's own network, mounts and control groups are not changed. */
function requireOwnNamespaces(): void {
  if (readlinkSync("/proc/self/ns/pid") !== FIRST_PID_NAMESPACE) return;
  throw new Error("this test runs in namespaces of its own: start it by tests/run.sh");
}

/** In memory: overlayfs needs extended attributes, and nothing of it outlives the test. */
async function mountDirectory(cleanup: AsyncDisposableStack): Promise<string> {
  const directory = mkdtempSync(join(tmpdir(), "machines-"));
  cleanup.defer(() => rmSync(directory, { recursive: true }));
  await runCommand("mount", ["-t", "tmpfs", "-o", "mode=755", "tmpfs", directory]);
  cleanup.defer(() => runCommand("umount", [directory]));
  return directory;
}

function writeLayer(directory: string, files: readonly MachineFile[]): void {
  mkdirSync(directory);
  for (const { path, content, mode = 0o644 } of files) {
    const target = join(directory, path);
    mkdirSync(dirname(target), { recursive: true });
    if (typeof content === "string") writeFileSync(target, content);
    else copyFileSync(content.copyOf, target);
    chmodSync(target, mode);
  }
}
