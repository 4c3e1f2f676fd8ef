/**
 * HTTP requests to a server in another network namespace, from this process: a program started
 * there for each request would cost more than the daemon that is asked, in a virtual machine.
 */

import { dlopen } from "bun:ffi";
import { enterNetworkNamespace } from "./network_namespace.ts";

export interface HttpAnswer {
  readonly status: number;
  readonly body: string;
}

const NO_ANSWER: HttpAnswer = { status: 0, body: "" };
/** From bits/socket.h of x86-64 and arm64. */
const AF_INET = 2;
const SOCK_STREAM_NONBLOCK_CLOEXEC = 1 | 0o4000 | 0o2000000;

const libc = dlopen("libc.so.6", {
  // int socket(int domain, int type, int protocol);
  socket: { args: ["i32", "i32", "i32"], returns: "i32" },
  // int connect(int sockfd, const struct sockaddr *addr, socklen_t addrlen);
  connect: { args: ["i32", "ptr", "u32"], returns: "i32" },
}).symbols;

/**
 * GET from 127.0.0.1 in a network namespace. Status 0 when nothing listens, or no whole answer
 * arrives within `timeoutMs`.
 */
export async function namespaceGet(
  namespace: string,
  { port, path, timeoutMs = 10_000 }: { port: number; path: string; timeoutMs?: number },
): Promise<HttpAnswer> {
  const { promise, resolve } = Promise.withResolvers<HttpAnswer>();
  const timer = setTimeout(() => resolve(NO_ANSWER), timeoutMs);
  const chunks: Uint8Array[] = [];
  const options: Bun.FdSocketOptions = {
    fd: connectingSocket(namespace, port),
    socket: {
      open: (socket) =>
        void socket.write(`GET ${path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n`),
      data: (_, chunk) => void chunks.push(new Uint8Array(chunk)),
      close: () => resolve(parseAnswer(Buffer.concat(chunks).toString())),
      error: () => resolve(NO_ANSWER),
      connectError: () => resolve(NO_ANSWER),
    },
  };
  // Bun's types do not say that `connect` takes what `FdSocketOptions` describes.
  const connecting = Bun.connect(options as unknown as Bun.UnixSocketOptions);
  const socket = await connecting.catch(() => resolve(NO_ANSWER));
  try {
    return await promise;
  } finally {
    clearTimeout(timer);
    socket?.terminate();
  }
}

/** A socket belongs to the namespace in which it was opened, wherever it is used. */
function connectingSocket(namespace: string, port: number): number {
  using _inside = enterNetworkNamespace(namespace);
  const socket = libc.socket(AF_INET, SOCK_STREAM_NONBLOCK_CLOEXEC, 0);
  if (socket < 0) throw new Error("cannot open a socket");
  libc.connect(socket, loopback(port), 16); // EINPROGRESS; the event loop sees the result
  return socket;
}

/** struct sockaddr_in of 127.0.0.1 (ip(7)). */
function loopback(port: number): Uint8Array {
  const address = new Uint8Array(16);
  const view = new DataView(address.buffer);
  view.setUint16(0, AF_INET, true);
  view.setUint16(2, port);
  address.set([127, 0, 0, 1], 4);
  return address;
}

/** The server closes the connection after its answer, which has a length and no chunks. */
function parseAnswer(text: string): HttpAnswer {
  const end = text.indexOf("\r\n\r\n");
  const status = /^HTTP\/1\.1 (\d+) /.exec(text)?.[1];
  if (end < 0 || status === undefined) return NO_ANSWER;
  return { status: Number(status), body: text.slice(end + 4) };
}
