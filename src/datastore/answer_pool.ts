/**
 * Limits the memory for answers of all connections together, from the moment an answer is read until its
 * client has received it. If there is no room, calls wait in order.
 *
 * Small answers have their own pool, so that clients that request everything, or do not read their
 * answers, do not delay all the others.
 */

const SMALL_BYTES = 256 << 10;

export interface PoolSizes {
  readonly smallBytes: number;
  readonly largeBytes: number;
}

/** The large pool has room for the largest possible answer. */
const DEFAULT_SIZES: PoolSizes = { smallBytes: 64 << 20, largeBytes: 128 << 20 };

/** A reservation of memory, released when it is disposed. */
export type Share = Disposable;

export class AnswerPool {
  readonly #small: Pool;
  readonly #large: Pool;

  constructor({ smallBytes, largeBytes }: PoolSizes = DEFAULT_SIZES) {
    this.#small = new Pool(smallBytes);
    this.#large = new Pool(largeBytes);
  }

  /** `undefined` if there is no room now. */
  tryTake(bytes: number): Share | undefined {
    return this.#poolFor(bytes).tryTake(bytes);
  }

  /** Resolves when there is room, at the latest when all other shares have been released. */
  async take(bytes: number): Promise<Share> {
    const pool = this.#poolFor(bytes);
    return pool.tryTake(bytes) ?? await pool.wait(bytes);
  }

  #poolFor(bytes: number): Pool {
    return bytes <= SMALL_BYTES ? this.#small : this.#large;
  }
}

class Pool {
  readonly #size: number;
  #used = 0;
  readonly #waiting: { bytes: number; go: (share: Share) => void }[] = [];

  constructor(size: number) {
    this.#size = size;
  }

  tryTake(bytes: number): Share | undefined {
    return this.#waiting.length === 0 && this.#hasRoom(bytes) ? this.#give(bytes) : undefined;
  }

  wait(bytes: number): Promise<Share> {
    return new Promise((go) => this.#waiting.push({ bytes, go }));
  }

  #hasRoom(bytes: number): boolean {
    return this.#used === 0 || this.#used + bytes <= this.#size;
  }

  #give(bytes: number): Share {
    this.#used += bytes;
    let isHeld = true;
    return {
      [Symbol.dispose]: () => {
        if (!isHeld) return;
        isHeld = false;
        this.#used -= bytes;
        this.#next();
      },
    };
  }

  #next(): void {
    for (let first = this.#waiting[0]; first; first = this.#waiting[0]) {
      if (!this.#hasRoom(first.bytes)) return;
      this.#waiting.shift();
      first.go(this.#give(first.bytes));
    }
  }
}
