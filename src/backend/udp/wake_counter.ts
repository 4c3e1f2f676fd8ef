/** Counts the commands that the eventfd(2) has announced, and those that have been handled. */

import { libc } from "../../../ffi/libc.ts";
import { addressOf } from "../../../ffi/memory.ts";

export class WakeCounter {
  readonly fd: number;
  readonly #value = new BigUint64Array(1);
  #announced = 0;
  #handled = 0;

  constructor(fd: number) {
    this.fd = fd;
  }

  /** Whether no announced command waits in the event loop. */
  get isIdle(): boolean {
    return this.#handled >= this.#announced;
  }

  /** After poll(2) has reported the eventfd as readable. */
  read(): void {
    libc().read(this.fd, addressOf(this.#value), 8);
    this.#announced += Number(this.#value[0]);
  }

  handled(): void {
    this.#handled++;
  }
}
