/** A watch on nftables notifications inside Bun's event loop (netlink(7)). */

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
import { MessageReader } from "../../kernel/wire/message_reader.ts";
import { connectToKernel, setOption } from "../../kernel/wire/netlink_socket.ts";
import { decodeNftNotification } from "./nft_notifications.ts";
import { FirewallError, type NftChange } from "../rules/rule_target.ts";

export interface NftWatchListener {
  changed(change: NftChange): void;
  /** Notifications were lost: whatever was known may be out of date. */
  overrun(): void;
  /** The watch cannot go on. */
  failed(error: Error): void;
}

/** Watches this network namespace's rules until disposed. Throws `FirewallError`. */
export async function watchNftables(
  listener: NftWatchListener,
  receiveBufferBytes: number = RECEIVE_BUFFER_BYTES,
): Promise<Disposable> {
  const watch = new NftWatch(listener, receiveBufferBytes);
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
  readonly #receiveBufferBytes: number;
  #socket: { terminate(): void } | undefined;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #isDisposed = false;

  constructor(listener: NftWatchListener, receiveBufferBytes: number) {
    this.#listener = listener;
    this.#receiveBufferBytes = receiveBufferBytes;
  }

  async open(): Promise<void> {
    const fd = openNotificationSocket(this.#receiveBufferBytes);
    try {
      this.#socket = await connectSocket(fd, {
        data: (_socket, bytes) => this.#read(bytes),
        error: () => {},
        close: () => this.#reopenSoon(),
      });
    } catch (cause) {
      libc().close(fd);
      throw new FirewallError(`cannot watch nftables: ${(cause as Error).message}`, { cause });
    }
    if (this.#isDisposed) this.#socket.terminate();
  }

  [Symbol.dispose](): void {
    this.#isDisposed = true;
    clearTimeout(this.#timer);
    this.#socket?.terminate();
  }

  #read(bytes: Uint8Array): void {
    const reader = new MessageReader(bytes);
    reader.reset(bytes.length);
    while (reader.next()) {
      const change = decodeNftNotification(reader);
      if (change !== undefined) this.#listener.changed(change);
    }
  }

  /** The runtime closes a socket whose buffer overflowed (ENOBUFS). */
  #reopenSoon(): void {
    if (this.#isDisposed) return;
    this.#timer = setTimeout(() => {
      this.open().then(() => this.#listener.overrun(), (error) => this.#listener.failed(error));
    }, REOPEN_DELAY_MS);
  }
}

function openNotificationSocket(receiveBufferBytes: number): number {
  const fd = libc().socket(
    AF_NETLINK,
    SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK,
    NETLINK_NETFILTER,
  );
  if (fd < 0) throw new FirewallError(`cannot watch nftables: ${errnoName(errno())}`);
  // Without CAP_NET_ADMIN in the first user namespace the buffer stays small: more overruns.
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

/** `Bun.connect` takes a descriptor, which its types do not say. */
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
