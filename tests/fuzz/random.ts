/** Reproducible random numbers (xorshift128, Marsaglia 2003). */
export class Random {
  #a: number;
  #b: number;
  #c = 362436069;
  #d = 521288629;

  constructor(seed: number) {
    this.#a = seed | 0;
    this.#b = (seed * 1812433253 + 1) | 0;
    for (let i = 0; i < 20; i++) this.next();
  }

  /** An integer from 0 to 2³²−1. */
  next(): number {
    const t = this.#d ^ (this.#d << 11);
    this.#d = this.#c;
    this.#c = this.#b;
    this.#b = this.#a;
    this.#a = this.#a ^ (this.#a >>> 19) ^ t ^ (t >>> 8);
    return this.#a >>> 0;
  }

  /** An integer from 0 to `limit` − 1. */
  below(limit: number): number {
    return this.next() % limit;
  }

  /** True once in `times` calls, on average. */
  once(times: number): boolean {
    return this.below(times) === 0;
  }

  pick<T>(items: readonly T[]): T {
    return items[this.below(items.length)] as T;
  }
}
