/** The C library: sockets, devices, and what loading libraries from memory needs. */

import { OperatorError } from "../src/base/operator_error.ts";
import { dlopen, FFIType, type Library, read } from "bun:ffi";
import { readFileSync } from "node:fs";

const symbols = {
  // int *__errno_location(void);
  __errno_location: { args: [], returns: "ptr" },
  // int socket(int domain, int type, int protocol);
  socket: { args: ["i32", "i32", "i32"], returns: "i32" },
  // int bind(int sockfd, const struct sockaddr *addr, socklen_t addrlen);
  bind: { args: ["i32", "ptr", "u32"], returns: "i32" },
  // int connect(int sockfd, const struct sockaddr *addr, socklen_t addrlen);
  connect: { args: ["i32", "ptr", "u32"], returns: "i32" },
  // int getsockname(int sockfd, struct sockaddr *addr, socklen_t *addrlen);
  getsockname: { args: ["i32", "ptr", "ptr"], returns: "i32" },
  // int getsockopt(int sockfd, int level, int optname, void *optval, socklen_t *optlen);
  getsockopt: { args: ["i32", "i32", "i32", "ptr", "ptr"], returns: "i32" },
  // int setsockopt(int sockfd, int level, int optname, const void *optval, socklen_t optlen);
  setsockopt: { args: ["i32", "i32", "i32", "ptr", "u32"], returns: "i32" },
  // ssize_t send(int sockfd, const void *buf, size_t len, int flags);
  send: { args: ["i32", "ptr", FFIType.u64_fast, "i32"], returns: FFIType.i64_fast },
  // ssize_t recv(int sockfd, void *buf, size_t len, int flags);
  recv: { args: ["i32", "ptr", FFIType.u64_fast, "i32"], returns: FFIType.i64_fast },
  // ssize_t sendto(int sockfd, const void *buf, size_t len, int flags,
  //                const struct sockaddr *dest_addr, socklen_t addrlen);
  sendto: {
    args: ["i32", "ptr", FFIType.u64_fast, "i32", "ptr", "u32"],
    returns: FFIType.i64_fast,
  },
  // int sendmmsg(int sockfd, struct mmsghdr *msgvec, unsigned int vlen, int flags);
  sendmmsg: { args: ["i32", "ptr", "u32", "i32"], returns: "i32" },
  // int recvmmsg(int sockfd, struct mmsghdr *msgvec, unsigned int vlen, int flags,
  //              struct timespec *timeout);
  recvmmsg: { args: ["i32", "ptr", "u32", "i32", "ptr"], returns: "i32" },
  // ssize_t read(int fd, void *buf, size_t count);
  read: { args: ["i32", "ptr", FFIType.u64_fast], returns: FFIType.i64_fast },
  // ssize_t write(int fd, const void *buf, size_t count);
  write: { args: ["i32", "ptr", FFIType.u64_fast], returns: FFIType.i64_fast },
  // int ioctl(int fd, unsigned long op, void *argp);
  ioctl: { args: ["i32", FFIType.u64_fast, "ptr"], returns: "i32" },
  // int eventfd(unsigned int initval, int flags);
  eventfd: { args: ["u32", "i32"], returns: "i32" },
  // int poll(struct pollfd *fds, nfds_t nfds, int timeout);
  poll: { args: ["ptr", FFIType.u64_fast, "i32"], returns: "i32" },
  // int fcntl(int fd, int op, int arg);
  fcntl: { args: ["i32", "i32", "i32"], returns: "i32" },
  // int flock(int fd, int operation);
  flock: { args: ["i32", "i32"], returns: "i32" },
  // int getrlimit(int resource, struct rlimit *rlim);
  getrlimit: { args: ["i32", "ptr"], returns: "i32" },
  // int execve(const char *pathname, char *const argv[], char *const envp[]);
  execve: { args: ["ptr", "ptr", "ptr"], returns: "i32" },
  // int close(int fd);
  close: { args: ["i32"], returns: "i32" },
  // void *memcpy(void *dest, const void *src, size_t n);
  memcpy: { args: ["ptr", "ptr", FFIType.u64_fast], returns: "void" },
  // int madvise(void *addr, size_t length, int advice);
  madvise: { args: [FFIType.u64_fast, FFIType.u64_fast, "i32"], returns: "i32" },
  // int memfd_create(const char *name, unsigned int flags);
  memfd_create: { args: ["ptr", "u32"], returns: "i32" },
} as const;

type Libc = Library<typeof symbols>["symbols"];

/** This process may not create executable memory, which each call of a library needs. */
export class ExecutableMemoryError extends OperatorError {
  override readonly name = "ExecutableMemoryError";
}

let opened: Libc | undefined;

/**
 * The C library's functions. Throws `ExecutableMemoryError`, and an `Error` if this machine has
 * neither glibc nor musl.
 */
export function libc(): Libc {
  opened ??= openFirst(["libc.so.6", `libc.musl-${machine()}.so.1`]);
  return opened;
}

/** errno(3) of the last failed call; to be read before any other call. */
export function errno(): number {
  const at = libc().__errno_location();
  return at === null ? 0 : read.i32(at, 0);
}

function openFirst(names: readonly string[]): Libc {
  let cause: unknown;
  for (const name of names) {
    try {
      return dlopen(name, symbols).symbols;
    } catch (error) {
      cause = error;
    }
  }
  if (isLoaded()) {
    throw new ExecutableMemoryError(
      "cannot call the C library: this process may not create executable memory; remove " +
        "MemoryDenyWriteExecute=yes from the systemd unit, or allow execmem in SELinux",
      { cause },
    );
  }
  throw new Error(`cannot open the C library (${names.join(", ")})`, { cause });
}

/** The runtime itself is linked to the C library: glibc or musl. */
function isLoaded(): boolean {
  return /\/(libc\.so\.6|ld-musl-)/.test(readFileSync("/proc/self/maps", "utf8"));
}

function machine(): string {
  return process.arch === "arm64" ? "aarch64" : "x86_64";
}
