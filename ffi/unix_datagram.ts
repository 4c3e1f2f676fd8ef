/** Datagrams to UNIX sockets (unix(7)), which the runtime's own API cannot send. */

import { dlopen, read } from "bun:ffi";

const AF_UNIX = 1; // linux/socket.h
const SOCK_DGRAM = 2; // linux/net.h
const SOCK_CLOEXEC = 0o2000000; // asm-generic/fcntl.h, O_CLOEXEC
const MSG_DONTWAIT = 0x40; // linux/socket.h
const MSG_NOSIGNAL = 0x4000; // linux/socket.h
const SUN_PATH_BYTES = 108; // linux/un.h, UNIX_PATH_MAX

/**
 * Sends one datagram without waiting and returns 0, or the errno. A path that begins with `@` is in
 * the abstract namespace. Throws `RangeError` for a path that fits no address.
 */
export function sendUnixDatagram(path: string, data: Uint8Array): number {
  const address = unixAddress(path);
  const { symbols: libc } = libraries.libc ??= openLibc();
  const errno = (): number => {
    const location = libc.__errno_location();
    return location === null ? 0 : read.i32(location, 0);
  };
  const socket = libc.socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  if (socket < 0) return errno();
  try {
    const flags = MSG_DONTWAIT | MSG_NOSIGNAL;
    const sent = libc.sendto(socket, data, data.length, flags, address, address.length);
    return Number(sent) < 0 ? errno() : 0;
  } finally {
    libc.close(socket);
  }
}

/** `struct sockaddr_un`: the family in host byte order, then the path. */
function unixAddress(path: string): Uint8Array {
  const name = new TextEncoder().encode(path);
  // A path needs a final zero byte; an abstract name begins with one instead.
  if (name.length === 0 || name.length >= SUN_PATH_BYTES) {
    throw new RangeError(`"${path}" is no socket path of 1 to ${SUN_PATH_BYTES - 1} bytes`);
  }
  const isAbstract = path.startsWith("@");
  const address = new Uint8Array(2 + name.length + (isAbstract ? 0 : 1));
  new DataView(address.buffer).setUint16(0, AF_UNIX, true);
  address.set(name, 2);
  if (isAbstract) address[2] = 0;
  return address;
}

const libraries: { libc?: ReturnType<typeof openLibc> } = {};

// The type is what dlopen infers.
function openLibc() {
  const symbols = {
    // int socket(int domain, int type, int protocol);
    socket: { args: ["i32", "i32", "i32"], returns: "i32" },
    // ssize_t sendto(int sockfd, const void *buf, size_t len, int flags,
    //                const struct sockaddr *dest_addr, socklen_t addrlen);
    sendto: { args: ["i32", "buffer", "usize", "i32", "buffer", "u32"], returns: "i64" },
    // int close(int fd);
    close: { args: ["i32"], returns: "i32" },
    // int *__errno_location(void);
    __errno_location: { args: [], returns: "ptr" },
  } as const;
  try {
    return dlopen("libc.so.6", symbols);
  } catch {
    return dlopen("libc.so", symbols); // musl
  }
}
