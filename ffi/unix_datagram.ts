/** Datagrams to UNIX sockets (unix(7)), which the runtime's own API cannot send. */

import { dlopen, read } from "bun:ffi";
import { AF_UNIX, SOCK_CLOEXEC, SOCK_DGRAM } from "./linux.ts";
import { unixAddress } from "./unix_address.ts";

const MSG_DONTWAIT = 0x40; // linux/socket.h
const MSG_NOSIGNAL = 0x4000; // linux/socket.h

/**
 * Sends one datagram without waiting; returns 0, or the errno. A path that begins with `@` is in
 * the abstract namespace. Throws `RangeError` for an empty or too long path.
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
