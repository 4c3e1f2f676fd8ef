/** A process that has reached its share of epoll's memory (epoll(7), max_user_watches). */

import { dlopen, ptr } from "bun:ffi";

/**
 * From here on, the kernel refuses this process's epoll_ctl(2) EPOLL_CTL_ADD with ENOSPC
 * (Documentation/userspace-api/seccomp_filter.rst). That cannot be undone.
 */
export function refusePolling(): void {
  const { symbols } = dlopen("libc.so.6", {
    // int prctl(int op, unsigned long arg2, …);
    prctl: { args: ["i32", "u64", "u64", "u64", "u64"], returns: "i32" },
  });
  const filter = new BigUint64Array([
    instruction(BPF_LD, 0), // seccomp_data.nr
    instruction(BPF_JEQ, process.arch === "arm64" ? 21 : 233, 0, 3), // __NR_epoll_ctl
    instruction(BPF_LD, 24), // seccomp_data.args[1]
    instruction(BPF_JEQ, 1, 0, 1), // EPOLL_CTL_ADD
    instruction(BPF_RET, SECCOMP_RET_ERRNO | 28), // ENOSPC
    instruction(BPF_RET, SECCOMP_RET_ALLOW),
  ]);
  const program = new BigUint64Array([BigInt(filter.length), BigInt(ptr(filter))]);
  const isSet = symbols.prctl(PR_SET_NO_NEW_PRIVS, 1n, 0n, 0n, 0n) === 0 &&
    symbols.prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, BigInt(ptr(program)), 0n, 0n) === 0;
  if (!isSet) throw new Error("the kernel takes no seccomp filter");
}

const PR_SET_NO_NEW_PRIVS = 38; // linux/prctl.h
const PR_SET_SECCOMP = 22; // linux/prctl.h
const SECCOMP_MODE_FILTER = 2n; // linux/seccomp.h
const SECCOMP_RET_ERRNO = 0x00050000; // linux/seccomp.h
const SECCOMP_RET_ALLOW = 0x7fff0000; // linux/seccomp.h
const BPF_LD = 0x20; // linux/bpf_common.h: BPF_LD | BPF_W | BPF_ABS
const BPF_JEQ = 0x15; // BPF_JMP | BPF_JEQ | BPF_K
const BPF_RET = 0x06; // BPF_RET | BPF_K

/** struct sock_filter (linux/filter.h): the operation, and how many instructions it skips. */
function instruction(code: number, value: number, skipThen = 0, skipElse = 0): bigint {
  const [then, otherwise] = [BigInt(skipThen), BigInt(skipElse)];
  return BigInt(code) | then << 16n | otherwise << 24n | BigInt(value) << 32n;
}
