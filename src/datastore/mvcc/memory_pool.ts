/**
 * Limits the memory of all calls together: for responses, from reading the data until the client
 * has received it, and for waiting requests. If there is no room, calls wait in order.
 *
 * Small reservations have a separate pool, so that clients that request everything, or read
 * nothing, do not block all others. A client address has at most half of a pool, and waiting
 * addresses take turns, so that a client that does not read its responses does not block those of
 * others.
 */

const SMALL_BYTES = 256 << 10;

export interface PoolSizes {
  readonly smallBytes: number;
  readonly largeBytes: number;
}

/** The large pool has room for the largest possible response. */
const DEFAULT_SIZES: PoolSizes = { smallBytes: 64 << 20, largeBytes: 128 << 20 };

/** A reservation of memory, released when it is disposed. */
export type MemoryReservation = Disposable;

const NOTHING: MemoryReservation = { [Symbol.dispose]() {} };

/** `owner` is the address of the client. */
export class MemoryPool {
  readonly #small: FairPool;
  readonly #large: FairPool;

  constructor({ smallBytes, largeBytes }: PoolSizes = DEFAULT_SIZES) {
    this.#small = new FairPool(smallBytes);
    this.#large = new FairPool(largeBytes);
  }

  /** `undefined` if there is no room now. */
  tryTake(bytes: number, owner: string): MemoryReservation | undefined {
    return this.#poolFor(bytes).tryTake(bytes, owner);
  }

  /** Resolves when there is room, at the latest when everything else has been released. */
  async take(bytes: number, owner: string): Promise<MemoryReservation> {
    const pool = this.#poolFor(bytes);
    return pool.tryTake(bytes, owner) ?? await pool.wait(bytes, owner);
  }

  /** For data that is already in memory and cannot wait; the others have less room meanwhile. */
  overdraw(bytes: number, owner: string): MemoryReservation {
    return this.#poolFor(bytes).reserve(bytes, owner);
  }

  #poolFor(bytes: number): FairPool {
    return bytes <= SMALL_BYTES ? this.#small : this.#large;
  }
}

interface Waiting {
  readonly bytes: number;
  readonly go: (reservation: MemoryReservation) => void;
}

/** The memory of one client, and its waiting calls. */
interface Account {
  used: number;
  readonly waiting: Waiting[];
}

class FairPool {
  readonly #size: number;
  #used = 0;
  /** Clients that hold memory or wait for it; the client whose turn is next comes first. */
  readonly #accounts = new Map<string, Account>();

  constructor(size: number) {
    this.#size = size;
  }

  tryTake(bytes: number, owner: string): MemoryReservation | undefined {
    if (bytes === 0) return NOTHING;
    const account = this.#accounts.get(owner);
    if (account !== undefined && account.waiting.length > 0) return undefined;
    if (!this.#hasRoom(bytes) || !this.#mayHave(bytes, account) || this.#next() !== undefined) {
      return undefined;
    }
    return this.reserve(bytes, owner);
  }

  wait(bytes: number, owner: string): Promise<MemoryReservation> {
    return new Promise((go) => this.#account(owner).waiting.push({ bytes, go }));
  }

  #hasRoom(bytes: number): boolean {
    return this.#used === 0 || this.#used + bytes <= this.#size;
  }

  /** One client may have half of the pool, or one response that is larger. */
  #mayHave(bytes: number, account: Account | undefined): boolean {
    const used = account?.used ?? 0;
    return used === 0 || used + bytes <= this.#size / 2;
  }

  #account(owner: string): Account {
    const known = this.#accounts.get(owner);
    if (known !== undefined) return known;
    const account: Account = { used: 0, waiting: [] };
    this.#accounts.set(owner, account);
    return account;
  }

  reserve(bytes: number, owner: string): MemoryReservation {
    const account = this.#account(owner);
    this.#used += bytes;
    account.used += bytes;
    let isHeld = true;
    return {
      [Symbol.dispose]: () => {
        if (!isHeld) return;
        isHeld = false;
        this.#used -= bytes;
        account.used -= bytes;
        this.#serve();
        if (account.used === 0 && account.waiting.length === 0) this.#accounts.delete(owner);
      },
    };
  }

  /** The next client that waits for room in the pool, not for its own share of the pool. */
  #next(): [owner: string, account: Account, first: Waiting] | undefined {
    for (const [owner, account] of this.#accounts) {
      const [first] = account.waiting;
      if (first !== undefined && this.#mayHave(first.bytes, account)) {
        return [owner, account, first];
      }
    }
    return undefined;
  }

  #serve(): void {
    for (let next = this.#next(); next !== undefined; next = this.#next()) {
      const [owner, account, first] = next;
      if (!this.#hasRoom(first.bytes)) return;
      account.waiting.shift();
      this.#accounts.delete(owner);
      this.#accounts.set(owner, account);
      first.go(this.reserve(first.bytes, owner));
    }
  }
}
