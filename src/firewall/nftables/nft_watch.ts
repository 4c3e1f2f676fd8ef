/** Receives nftables notifications (netlink(7)) in Bun's event loop. */

import { errnoName } from "../../../ffi/errno.ts";
import { errno, libc } from "../../../ffi/libc.ts";
import {
  AF_NETLINK,
  NETLINK_ADD_MEMBERSHIP,
  SO_RCVBUFFORCE,
  SOCK_CLOEXEC,
  SOCK_NONBLOCK,
  SOCK_RAW,
  SOL_NETLINK,
  SOL_SOCKET,
} from "../../../ffi/linux.ts";
import type { Clock } from "../../base/clock.ts";
import { errorMessage } from "../../base/operator_error.ts";
import { MessageReader } from "../../kernel/wire/message_reader.ts";
import { connectToKernel, setOption } from "../../kernel/wire/netlink_socket.ts";
import { decodeNftNotification } from "./nft_notifications.ts";
import { FirewallError, type NftChange } from "../rules/rule_target.ts";

export interface NftWatchListener {
  onChange(change: NftChange): void;
  /** Notifications were lost: what is known about the rules may be stale. */
  onOverrun(): void;
  /** The watch has ended. */
  onFailure(error: unknown): void;
}

export interface NftWatchOptions {
  readonly clock: Pick<Clock, "setTimer">;
  /** Size of the kernel's buffer for notifications that have not been read yet. */
  readonly receiveBufferBytes?: number | undefined;
}

/** Watches the rules of this network namespace until disposed. Throws `FirewallError`. */
export async function watchNftables(
  listener: NftWatchListener,
  options: NftWatchOptions,
): Promise<Disposable> {
  const watch = new NftWatch(listener, options);
  await watch.open();
  return watch;
}

/** Notifications wait here while the event loop is busy; a flush of 100 000 rules takes 20 MB. */
const RECEIVE_BUFFER_BYTES = 32 * 1024 * 1024;
const REOPEN_DELAY_MS = 100;

const NETLINK_NETFILTER = 12; // linux/netlink.h
const NFNLGRP_NFTABLES = 7; // linux/netfilter/nfnetlink.h

class NftWatch implements Disposable {
  readonly #listener: NftWatchListener;
  readonly #options: NftWatchOptions;
  #socket: { terminate(): void } | undefined;
  #timer: Disposable | undefined;
  #isDisposed = false;

  constructor(listener: NftWatchListener, options: NftWatchOptions) {
    this.#listener = listener;
    this.#options = options;
  }

  async open(): Promise<void> {
    const fd = openNotificationSocket(this.#options.receiveBufferBytes ?? RECEIVE_BUFFER_BYTES);
    try {
      this.#socket = await connectSocket(fd, {
        data: (_socket, bytes) => this.#read(bytes),
        error: () => {},
        close: () => this.#reopenSoon(),
      });
    } catch (cause) {
      libc().close(fd);
      throw new FirewallError(`cannot watch nftables: ${errorMessage(cause)}`, { cause });
    }
    if (this.#isDisposed) this.#socket.terminate();
  }

  [Symbol.dispose](): void {
    this.#isDisposed = true;
    this.#timer?.[Symbol.dispose]();
    this.#socket?.terminate();
  }

  #read(bytes: Uint8Array): void {
    const reader = new MessageReader(bytes);
    reader.reset(bytes.length);
    while (reader.next()) {
      const change = decodeNftNotification(reader);
      if (change !== undefined) this.#listener.onChange(change);
    }
  }

  /** The runtime closes a socket whose buffer overflowed (ENOBUFS). */
  #reopenSoon(): void {
    if (this.#isDisposed) return;
    this.#timer = this.#options.clock.setTimer(REOPEN_DELAY_MS, () => {
      this.open().then(
        () => this.#listener.onOverrun(),
        (error) => this.#listener.onFailure(error),
      );
    });
  }
}

function openNotificationSocket(receiveBufferBytes: number): number {
  const fd = libc().socket(
    AF_NETLINK,
    SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK,
    NETLINK_NETFILTER,
  );
  if (fd < 0) throw new FirewallError(`cannot watch nftables: ${errnoName(errno())}`);
  // Without CAP_NET_ADMIN in the initial user namespace, the buffer stays small: more overruns.
  setOption(fd, SOL_SOCKET, SO_RCVBUFFORCE, receiveBufferBytes);
  try {
    connectToKernel(fd);
    if (setOption(fd, SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, NFNLGRP_NFTABLES)) return fd;
    throw new FirewallError(`cannot watch nftables: ${errnoName(errno())}`);
  } catch (error) {
    libc().close(fd);
    throw error;
  }
}

/** `Bun.connect` accepts a descriptor, which its types do not declare. */
function connectSocket(
  fd: number,
  socket: {
    data(socket: unknown, bytes: Uint8Array): void;
    error(socket: unknown, error: Error): void;
    close(): void;
  },
): Promise<{ terminate(): void }> {
  const connect = Bun.connect as unknown as (
    options: { fd: number; socket: typeof socket },
  ) => Promise<{ terminate(): void }>;
  return connect({ fd, socket });
}
