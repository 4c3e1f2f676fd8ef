/**
 * WireGuard in user space: a process that holds a TUN device and listens on a socket named after
 * it. The process outlives the daemon, so a restart of the daemon does not disturb traffic.
 */

import { statSync } from "node:fs";
import { createConnection } from "node:net";
import { errnoName } from "../../../ffi/errno.ts";
import type { Clock } from "../../base/clock.ts";
import { listenerNamespace } from "../../process/listener_namespace.ts";
import { KernelError } from "../wire/kernel_error.ts";
import { GET_REQUEST, parseGetReply, parseSetReply, setRequest } from "./uapi.ts";
import {
  type DeviceChange,
  type Fault,
  listenPortTaken,
  type WireguardDeviceState,
  type WireguardDriver,
} from "./wireguard_driver.ts";

/** The path of the socket, the same for all implementations. */
export function uapiSocketPath(link: string): string {
  return `/var/run/wireguard/${link}.sock`;
}

/** Whether a device of this name has a socket; its process may have died. */
export function hasUapiSocket(link: string): boolean {
  return identityOf(link) !== undefined;
}

/** Whether a process responds at the socket. */
export async function isListening(clock: Clock, link: string): Promise<boolean> {
  if (!hasUapiSocket(link)) return false;
  return await exchange(clock, link, GET_REQUEST).catch(() => undefined) !== undefined;
}

export class UserspaceDriver implements WireguardDriver {
  readonly #clock: Clock;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  async read(link: string): Promise<WireguardDeviceState | undefined> {
    const identity = identityOf(link);
    const text = identity === undefined
      ? undefined
      : await exchange(this.#clock, link, GET_REQUEST);
    if (identity === undefined || text === undefined) return undefined;
    const { errno, ...reading } = parseGetReply(text);
    if (errno !== 0) throw new KernelError({ operation: `read WireGuard device ${link}`, errno });
    return { ...reading, identity };
  }

  async write(link: string, identity: number, change: DeviceChange): Promise<Fault | undefined> {
    const text = identityOf(link) === identity
      ? await exchange(this.#clock, link, setRequest(change))
      : undefined;
    if (text === undefined) return { errno: "ENODEV", reason: `there is no device ${link}` };
    const errno = parseSetReply(text);
    if (errno === 0) return undefined;
    const code = errnoName(errno);
    const { listenPort } = change;
    const isTaken = code === "EADDRINUSE" && listenPort !== undefined;
    return { errno: code, ...(isTaken ? { reason: listenPortTaken(link, listenPort) } : {}) };
  }

  [Symbol.dispose](): void {}
}

/** Without any bytes of the response. */
const RESPONSE_TIMEOUT_MS = 5000;
/** About 10⁵ peers. */
const MAX_RESPONSE_CHARACTERS = 64 * 1024 * 1024;

/**
 * The socket's inode: a restarted process creates another one. `undefined` for a device of another
 * network namespace with the same /run.
 */
function identityOf(link: string): number | undefined {
  const stat = statSync(uapiSocketPath(link), { throwIfNoEntry: false });
  return stat?.isSocket() && foreignHolder(link) === undefined ? stat.ino : undefined;
}

/** The process that listens on the device's socket, if it is in another network namespace. */
export function foreignHolder(link: string): string | undefined {
  const place = listenerNamespace(uapiSocketPath(link));
  switch (place.kind) {
    case "here":
    case "absent": // Its process may have died.
      return undefined;
    case "elsewhere":
      return `process ${place.pid} in network namespace ${place.namespace}`;
    case "hidden":
      return "a process in another network namespace";
  }
}

/**
 * Sends one request and returns the response; `undefined` if no process listens. Throws
 * `KernelError`.
 */
function exchange(clock: Clock, link: string, request: string): Promise<string | undefined> {
  const { promise, resolve, reject } = Promise.withResolvers<string | undefined>();
  const socket = createConnection(uapiSocketPath(link));
  const fail = (errno: string, extack?: string) => {
    socket.destroy();
    reject(
      new KernelError({ operation: `query the WireGuard process of ${link}`, errno, extack }),
    );
  };
  let timer: Disposable | undefined;
  const restartTimer = () => {
    timer?.[Symbol.dispose]();
    timer = clock.setTimer(RESPONSE_TIMEOUT_MS, () => fail("ETIMEDOUT"));
  };
  let response = "";
  restartTimer();
  socket.setEncoding("latin1");
  socket.on("connect", () => socket.write(request));
  socket.on("data", (text) => {
    restartTimer();
    response += text;
    if (response.endsWith("\n\n")) {
      socket.destroy();
      resolve(response);
    } else if (response.length > MAX_RESPONSE_CHARACTERS) {
      fail("EMSGSIZE");
    }
  });
  socket.on("error", (error: NodeJS.ErrnoException) => {
    if (NOT_LISTENING.has(error.code ?? "")) resolve(undefined);
    else fail(error.code ?? "EIO", error.message);
  });
  socket.on("close", () => {
    timer?.[Symbol.dispose]();
    fail("EPIPE", "it closed the connection without a response");
  });
  return promise;
}

const NOT_LISTENING: ReadonlySet<string> = new Set(["ENOENT", "ECONNREFUSED"]);
