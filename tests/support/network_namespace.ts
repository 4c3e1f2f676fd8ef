/** Network namespaces of the calling thread (namespaces(7), setns(2), unshare(2)). */

import { closeSync, openSync } from "node:fs";
import { dlopen } from "bun:ffi";

const CLONE_NEWNET = 0x40000000; // linux/sched.h

/**
 * Moves this thread into a new, empty network namespace until the result is disposed. Sockets opened
 * and processes started meanwhile are in it; the runtime's other threads are not. Needs
 * CAP_SYS_ADMIN.
 */
export function enterNewNetworkNamespace(): Disposable {
  const { symbols } = dlopen("libc.so.6", {
    // int unshare(int flags);
    unshare: { args: ["i32"], returns: "i32" },
    // int setns(int fd, int nstype);
    setns: { args: ["i32", "i32"], returns: "i32" },
  });
  const before = openSync("/proc/thread-self/ns/net", "r");
  if (symbols.unshare(CLONE_NEWNET) !== 0) {
    closeSync(before);
    throw new Error("cannot make a network namespace: CAP_SYS_ADMIN is needed");
  }
  return {
    [Symbol.dispose]: () => {
      const result = symbols.setns(before, CLONE_NEWNET);
      closeSync(before);
      if (result !== 0) throw new Error("cannot go back to the first network namespace");
    },
  };
}

let made = 0;

/** A named network namespace (ip-netns(8)) of its own, removed when disposed. */
export class Namespace implements AsyncDisposable {
  readonly name = `test${process.pid}-${made++}`;

  static async create(): Promise<Namespace> {
    const namespace = new Namespace();
    await checked(["ip", "netns", "add", namespace.name]);
    await namespace.sh("ip link set lo up");
    return namespace;
  }

  /** Runs a shell script inside; resolves to its standard output. Throws when it fails. */
  sh(script: string): Promise<string> {
    return checked(["ip", "netns", "exec", this.name, "sh", "-ec", script]);
  }

  /** The rules of one table as iptables-save prints them, without counters and comments. */
  async iptables(table: "nat" | "filter", program = "iptables-save"): Promise<string> {
    const text = await this.sh(`${program} -t ${table} 2>/dev/null`);
    return text.split("\n").filter((line) => line !== "" && !line.startsWith("#")).join("\n");
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await checked(["ip", "netns", "del", this.name]);
  }
}

async function checked(command: string[]): Promise<string> {
  const child = Bun.spawn(command, { stdout: "pipe", stderr: "pipe", stdin: "ignore" });
  const [stdout, stderr, exitCode] = await Promise.all([
    new Response(child.stdout).text(),
    new Response(child.stderr).text(),
    child.exited,
  ]);
  if (exitCode !== 0) throw new Error(`${command.join(" ")}: status ${exitCode}: ${stderr}`);
  return stdout;
}
