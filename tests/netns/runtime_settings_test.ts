/** The daemon executes itself again with settings of the JavaScript runtime. */

import { describe, expect, test } from "bun:test";
import { readFileSync, readlinkSync } from "node:fs";
import { join } from "node:path";
import { Cluster } from "../support/cluster.ts";
import { FLANNELD } from "../support/host.ts";
import { IPV4 } from "../support/networks.ts";
import { eventually } from "../support/wait.ts";

const SETTINGS = {
  BUN_GC_TIMER_DISABLE: "1",
  BUN_JSC_useConcurrentGC: "0",
  BUN_JSC_useConcurrentJIT: "0",
  BUN_JSC_useDFGJIT: "0",
  MALLOC_TRIM_THRESHOLD_: "131072",
  MIMALLOC_PURGE_DELAY: "0",
};
/** It waits for an etcd that is not there. */
const ARGS = ["--etcd-endpoints=http://127.0.0.1:1", "-v=1"];

describe("a daemon", () => {
  test("has the settings, and is otherwise the process that was started", async () => {
    await using again = await start(ARGS, { HOME: "/é" });
    // With all settings, it does not execute itself again.
    await using once = await start(ARGS, { HOME: "/é", ...SETTINGS });
    const { FLANNELD_RUNTIME_SETTINGS: mark, ...variables } = again.environment();
    expect(mark).toStartWith(`${again.pid}/`);
    expect(once.environment()).toEqual(variables);
    expect(again.state()).toEqual(once.state());
  });

  test("keeps a value that its user has set", async () => {
    await using daemon = await start(ARGS, { BUN_JSC_useDFGJIT: "1" });
    expect(daemon.environment()).toMatchObject({ ...SETTINGS, BUN_JSC_useDFGJIT: "1" });
  });

  test("passes on its arguments byte by byte, its name, and files that were open", async () => {
    const script = 'exec 9</etc/passwd; exec -a other "$0" "$@" "$(printf -- "--iface=\\377 x")"';
    await using daemon = await start(ARGS, {}, ["bash", "-c", script, FLANNELD]);
    const commandLine = ["other", ...ARGS, "--iface=\xff x", ""].join("\0");
    expect(readFileSync(`/proc/${daemon.pid}/cmdline`, "latin1")).toBe(commandLine);
    expect(readFileSync(`/proc/${daemon.pid}/comm`, "utf8")).toBe("flanneld\n");
    expect(readlinkSync(`/proc/${daemon.pid}/fd/9`)).toBe("/etc/passwd");
  });

  test("also starts where it may not execute a program, and says so", async () => {
    await using daemon = await start(ARGS, {}, ["python3", "-c", REFUSE_EXECVE, FLANNELD]);
    expect(daemon.environment()).not.toHaveProperty("BUN_JSC_useDFGJIT");
    expect(daemon.log).toContain(
      "started without settings of the JavaScript runtime that save memory: " +
        "execve failed with EPERM",
    );
  });

  test("also starts with the mark of another process", async () => {
    await using daemon = await start(ARGS, { FLANNELD_RUNTIME_SETTINGS: "1/PATH/x" });
    expect(daemon.environment()).toMatchObject(SETTINGS);
    expect(daemon.log).not.toContain("FLANNELD_RUNTIME_SETTINGS");
  });
});

test("a command of the daemon inherits none of the settings, except the user's own", async () => {
  await using cluster = await Cluster.create({ hosts: 1, families: [4] });
  const host = cluster.host(1);
  const file = join(host.directory, "environment");
  const Backend = { Type: "extension", PreStartupCommand: 'env > "$OUTPUT"; echo data' };
  await cluster.configure({ ...IPV4, Backend });
  const daemon = await host.up({ env: { OUTPUT: file, BUN_JSC_useConcurrentGC: "0" } });
  expect(environmentOf(daemon.pid)).toMatchObject(SETTINGS);
  const names = readFileSync(file, "utf8").split("\n").map((line) => line.split("=", 1)[0]);
  expect(names.filter((name) => /BUN|MALLOC|RUNTIME/.test(name ?? ""))).toEqual([
    "BUN_JSC_useConcurrentGC",
  ]);
});

/** A daemon that has begun to log; `before` is a command that executes it. */
async function start(
  args: readonly string[],
  env: Readonly<Record<string, string>>,
  before: readonly string[] = [FLANNELD],
) {
  const child = Bun.spawn([...before, ...args], {
    env: { PATH: process.env["PATH"] ?? "", ...env },
    stdout: "ignore",
    stderr: "pipe",
  });
  const daemon = new StartedDaemon(child);
  await eventually("the daemon logs", 20_000, () => daemon.log.includes("starting flanneld"));
  return daemon;
}

class StartedDaemon implements AsyncDisposable {
  readonly #child: Bun.Subprocess<"ignore", "ignore", "pipe">;
  readonly #read: Promise<void>;
  log = "";

  constructor(child: Bun.Subprocess<"ignore", "ignore", "pipe">) {
    this.#child = child;
    this.#read = this.#readLog();
  }

  get pid(): number {
    return this.#child.pid;
  }

  environment(): Record<string, string> {
    return environmentOf(this.pid);
  }

  /** What a program leaves to the next one in its process (execve(2)). */
  state(): unknown {
    const status = readFileSync(`/proc/${this.pid}/status`, "utf8");
    const rows = status.split("\n").filter((row) => /^(Name|Umask|Sig[BIC]|Cap|NoNew)/.test(row));
    const limits = readFileSync(`/proc/${this.pid}/limits`, "utf8");
    return { rows, limits };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#child.kill("SIGTERM");
    expect(await this.#child.exited).toBe(0);
    await this.#read;
  }

  async #readLog(): Promise<void> {
    const decoder = new TextDecoder();
    for await (const bytes of this.#child.stderr) {
      this.log += decoder.decode(bytes, { stream: true });
    }
  }
}

function environmentOf(pid: number): Record<string, string> {
  const variables = readFileSync(`/proc/${pid}/environ`, "utf8").split("\0").slice(0, -1);
  return Object.fromEntries(variables.map((variable) => {
    const end = variable.indexOf("=");
    return [variable.slice(0, end), variable.slice(end + 1)];
  }));
}

/** Executes a program by execveat(2), under a filter that refuses execve(2) (seccomp(2)). */
const REFUSE_EXECVE = `
import ctypes, os, platform, struct, sys
execve = {"x86_64": 59, "aarch64": 221}[platform.machine()]
load, jump, done = 0x20, 0x15, 0x06  # linux/bpf_common.h: LD|W|ABS, JMP|JEQ|K, RET|K
rules = [(load, 0, 0, 0), (jump, 0, 1, execve), (done, 0, 0, 0x00050001), (done, 0, 0, 0x7fff0000)]
code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *rule) for rule in rules))
class Program(ctypes.Structure):
    _fields_ = [("length", ctypes.c_ushort), ("rules", ctypes.c_void_p)]
libc = ctypes.CDLL(None, use_errno=True)
program = os.open(sys.argv[1], os.O_RDONLY)
os.set_inheritable(program, True)
assert libc.prctl(38, 1, 0, 0, 0) == 0  # PR_SET_NO_NEW_PRIVS
filter = Program(len(rules), ctypes.addressof(code))
assert libc.prctl(22, 2, ctypes.byref(filter)) == 0  # PR_SET_SECCOMP, SECCOMP_MODE_FILTER
os.execve(program, sys.argv[1:], os.environ)
`;
