/**
 * Receives the notifications of one netlink protocol (netlink(7)) in the event loop.
 *
 * The runtime reads from a duplicate of the socket. If the kernel drops notifications, it reports
 * ENOBUFS once, and the runtime closes its duplicate. The original stays subscribed and is
 * duplicated again: the loss is reported, and later notifications are received.
 *
 * From the first notification that it drops until the socket is empty, the kernel drops all of
 * them, without another error (NETLINK_S_CONGESTED, net/netlink/af_netlink.c). So the socket is
 * emptied before the loss is reported: what changes after that is not lost, or reported as lost.
 */

import { errnoName } from "../../../ffi/errno.ts";
import { errno, libc } from "../../../ffi/libc.ts";
import * as k from "../../../ffi/linux.ts";
import { addressOf, fixedBuffer, type Pointer } from "../../../ffi/memory.ts";
import type { Clock } from "../../base/clock.ts";
import { KernelError } from "./kernel_error.ts";
import { MessageReader } from "./message_reader.ts";
import { openNetlinkSocket, setOption, waitReadable } from "./netlink_socket.ts";

export interface NotificationOptions {
  readonly clock: Clock;
  /** One of NETLINK_*. */
  readonly protocol: number;
  readonly groups: readonly number[];
  /** Groups that older kernels do not have. */
  readonly optionalGroups?: readonly number[];
  /** Kernel-side buffer for notifications that have not been read yet. */
  readonly receiveBufferBytes: number;
  /** Reads the messages of one datagram. */
  read(messages: MessageReader): void;
  /** Notifications were lost. If it throws, it is called again later. */
  lost(): void;
}

export class Notifications implements Disposable {
  readonly #options: NotificationOptions;
  readonly #fd: number;
  #connection: { terminate(): void } | undefined;
  #disposed = false;
  readonly #handlers: Bun.SocketHandler<undefined> = {
    data: (_socket, bytes) => this.#read(bytes),
    close: () => this.#lost(0),
    error: () => {}, // `close` follows
  };

  /**
   * Subscribes at once: changes after the constructor returns are reported, as soon as `start` is
   * called. Throws `KernelError`.
   */
  constructor(options: NotificationOptions) {
    this.#options = options;
    const { protocol, groups, optionalGroups = [], receiveBufferBytes } = options;
    this.#fd = openNetlinkSocket(protocol);
    try {
      // SO_RCVBUF is limited to net.core.rmem_max; exceeding that needs CAP_NET_ADMIN in the
      // initial user namespace.
      if (!setOption(this.#fd, k.SOL_SOCKET, k.SO_RCVBUFFORCE, receiveBufferBytes)) {
        setOption(this.#fd, k.SOL_SOCKET, k.SO_RCVBUF, receiveBufferBytes);
      }
      for (const group of groups) {
        if (this.#join(group)) continue;
        throw new KernelError({
          operation: `subscribe to notifications of netlink protocol ${protocol}, group ${group}`,
          errno: errno(),
        });
      }
      for (const group of optionalGroups) this.#join(group);
    } catch (error) {
      libc().close(this.#fd);
      throw error;
    }
  }

  /** Starts reading. */
  start(): void {
    void this.#connect();
  }

  /** Every notification up to now was read: none waits in the socket, and none was lost. */
  get isUpToDate(): boolean {
    return this.#connection !== undefined && !waitReadable(this.#fd, 0);
  }

  get isDisposed(): boolean {
    return this.#disposed;
  }

  [Symbol.dispose](): void {
    if (this.#disposed) return;
    this.#disposed = true;
    this.#connection?.terminate();
    libc().close(this.#fd);
  }

  #join(group: number): boolean {
    return setOption(this.#fd, k.SOL_NETLINK, k.NETLINK_ADD_MEMBERSHIP, group);
  }

  async #connect(): Promise<void> {
    const fd = libc().fcntl(this.#fd, k.F_DUPFD_CLOEXEC, 0);
    if (fd < 0) return this.#lost(RETRY_MS); // out of descriptors: temporary
    // The runtime's types have `fd` for files only.
    const options = { fd, socket: this.#handlers } as unknown as Bun.UnixSocketOptions<undefined>;
    try {
      this.#connection = await Bun.connect(options);
    } catch {
      // Out of memory for epoll(7): temporary. The runtime has not taken over the descriptor.
      libc().close(fd);
      return this.#lost(RETRY_MS);
    }
    if (this.#disposed) this.#connection.terminate();
  }

  #lost(delayMs: number): void {
    this.#connection = undefined;
    if (this.#disposed) return;
    this.#options.clock.setTimer(delayMs, () => {
      if (this.#disposed) return;
      // The socket is still subscribed.
      try {
        this.#discardAll();
        this.#options.lost();
      } catch {
        return this.#lost(RETRY_MS);
      }
      void this.#connect();
    });
  }

  /** What waits in the socket is older than what is read because of the loss. */
  #discardAll(): void {
    for (let datagrams = 0; datagrams < MAX_DISCARDED; datagrams++) {
      if (libc().recv(this.#fd, scratchAddress, scratch.length, k.MSG_DONTWAIT) >= 0) continue;
      if (errnoName(errno()) === "EAGAIN") return;
    }
  }

  #read(bytes: Uint8Array): void {
    const messages = new MessageReader(bytes);
    messages.reset(bytes.length);
    this.#options.read(messages);
  }
}

const RETRY_MS = 100;
/** More than any buffer holds: the kernel counts at least 512 bytes for each. */
const MAX_DISCARDED = 1_000_000;
/** For the first bytes of a datagram, whose rest is lost. */
const scratch = fixedBuffer(16);
const scratchAddress: Pointer = addressOf(scratch);
