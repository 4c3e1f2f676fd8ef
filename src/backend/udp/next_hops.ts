/** The peer that has an address: one lookup per subnet length, and a cluster has one length. */

/** Addresses are unsigned 32-bit numbers in host byte order; no peer has 0.0.0.0. */
export const NO_HOP = 0;

export interface Subnet {
  readonly address: number;
  readonly length: number;
}

/** The longest match counts, as in a routing table. */
export class NextHops {
  /**
   * By the length of the subnets, longest first. Keys are signed integers: those are the fastest.
   */
  #tables: Table[] = [];
  /** Packets come in bursts to one destination. */
  #lastDestination = 0;
  #lastHop = NO_HOP;

  set(subnet: Subnet, hop: number): void {
    this.#forgetLast();
    let table = this.#tables.find(({ length }) => length === subnet.length);
    if (table === undefined) {
      table = { length: subnet.length, mask: maskOf(subnet.length), hops: new Map() };
      this.#tables.push(table);
      this.#tables.sort((a, b) => b.length - a.length);
    }
    table.hops.set(subnet.address & table.mask, hop);
  }

  delete(subnet: Subnet): void {
    this.#forgetLast();
    const table = this.#tables.find(({ length }) => length === subnet.length);
    table?.hops.delete(subnet.address & table.mask);
    if (table?.hops.size === 0) this.#tables = this.#tables.filter((other) => other !== table);
  }

  /** The public address of the peer that has this address, or `NO_HOP`. */
  find(destination: number): number {
    if (destination === this.#lastDestination) return this.#lastHop;
    this.#lastDestination = destination;
    return this.#lastHop = this.#lookUp(destination);
  }

  #lookUp(destination: number): number {
    for (const { mask, hops } of this.#tables) {
      const hop = hops.get(destination & mask);
      if (hop !== undefined) return hop;
    }
    return NO_HOP;
  }

  #forgetLast(): void {
    this.#lastDestination = 0;
    this.#lastHop = NO_HOP;
  }
}

interface Table {
  readonly length: number;
  readonly mask: number;
  readonly hops: Map<number, number>;
}

/** The network mask of a prefix length, as a signed number. */
export function maskOf(length: number): number {
  return length === 0 ? 0 : -1 << (32 - length);
}
