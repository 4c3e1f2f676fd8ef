/** Network namespaces of the calling thread (namespaces(7), setns(2), unshare(2)). */

import { closeSync, openSync } from "node:fs";
import { dlopen } from "bun:ffi";
import { ipBatch, namespaceScript } from "../../src/lab/namespace.ts";

const CLONE_NEWNET = 0x40000000; // linux/sched.h

const libc = dlopen("libc.so.6", {
  // int unshare(int flags);
  unshare: { args: ["i32"], returns: "i32" },
  // int setns(int fd, int nstype);
  setns: { args: ["i32", "i32"], returns: "i32" },
}).symbols;

/**
 * Moves this thread into a new, empty network namespace until the result is disposed. Sockets
 * opened and processes started meanwhile are in it; the runtime's other threads are not. Needs
 * CAP_SYS_ADMIN.
 */
export function enterNewNetworkNamespace(): Disposable {
  return visit(() => libc.unshare(CLONE_NEWNET), "cannot make a network namespace");
}

/** The same for an existing namespace with a name (ip-netns(8)). */
export function enterNetworkNamespace(name: string): Disposable {
  const file = openSync(`/run/netns/${name}`, "r");
  try {
    return visit(() => libc.setns(file, CLONE_NEWNET), `cannot enter the namespace ${name}`);
  } finally {
    closeSync(file);
  }
}

function visit(enter: () => number, failure: string): Disposable {
  const before = openSync("/proc/thread-self/ns/net", "r");
  if (enter() !== 0) {
    closeSync(before);
    throw new Error(`${failure}: CAP_SYS_ADMIN is needed`);
  }
  return {
    [Symbol.dispose]: () => {
      const result = libc.setns(before, CLONE_NEWNET);
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
    await ipBatch([`netns add ${namespace.name}`]);
    await namespace.sh("ip link set lo up");
    return namespace;
  }

  /** Runs a shell script inside; resolves to its standard output. Throws when it fails. */
  sh(script: string): Promise<string> {
    return namespaceScript(this.name, script);
  }

  /** The rules of one table as iptables-save prints them, without counters and comments. */
  async iptables(table: "nat" | "filter", program = "iptables-save"): Promise<string> {
    const text = await this.sh(`${program} -t ${table} 2>/dev/null`);
    return text.split("\n").filter((line) => line !== "" && !line.startsWith("#")).join("\n");
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await ipBatch([`netns del ${this.name}`]);
  }
}
