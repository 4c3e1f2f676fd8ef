/** The descriptors of one poll(2) call, in a buffer that is allocated once. */

import { libc } from "../../../ffi/libc.ts";
import { pollfd } from "../../../ffi/linux.ts";
import { addressOf, type Pointer } from "../../../ffi/memory.ts";

export class PollSet {
  readonly #fds: DataView<ArrayBuffer>;
  readonly #address: Pointer;
  readonly #count: number;

  constructor(count: number) {
    this.#count = count;
    this.#fds = new DataView(new ArrayBuffer(count * pollfd.size));
    this.#address = addressOf(new Uint8Array(this.#fds.buffer));
  }

  /** poll(2) skips a negative descriptor. */
  watch(index: number, fd: number, events: number): void {
    this.#fds.setInt32(index * pollfd.size + pollfd.fd, fd, true);
    this.#fds.setInt16(index * pollfd.size + pollfd.events, events, true);
  }

  /** Waits for an event, at most `timeoutMs`; -1 for no limit. Returns whether there is one. */
  wait(timeoutMs: number): boolean {
    return libc().poll(this.#address, this.#count, timeoutMs) > 0;
  }

  /** The events of a descriptor, after `wait`. */
  events(index: number): number {
    return this.#fds.getInt16(index * pollfd.size + pollfd.revents, true);
  }
}
