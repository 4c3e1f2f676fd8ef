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
