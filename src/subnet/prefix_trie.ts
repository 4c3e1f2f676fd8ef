/**
 * The owners of prefixes of one family. Overlaps are found in a time bounded by the prefix
 * length.
 */

import { addressBytes } from "../addr/ip.ts";
import { type Prefix, prefixAddress, prefixLength } from "../addr/prefix.ts";
import { columnFor } from "../base/column.ts";

/** A binary trie over the prefixes' bits. Two prefixes overlap when one is on the other's path. */
export class PrefixTrie<T extends object | number> {
  /**
   * The children of node `n` are at `2 * n` and `2 * n + 1`; 0 for none. Node 0 is the root.
   * Numbers take a fraction of the memory of objects.
   */
  #children = columnFor(new Uint32Array(), 1);
  /** By node: where its owners are in `#owners`, plus one; 0 for none, as for most nodes. */
  #places = columnFor(new Uint32Array(), ROOT);
  /** Nearly always one owner; none in a place that is free. */
  readonly #owners: (T | readonly T[] | undefined)[] = [];
  readonly #freePlaces: number[] = [];
  /** Number of nodes that have ever been in use. */
  #nodes = 1;
  /** Those that are not in use any more. */
  readonly #free: number[] = [];

  add(prefix: Prefix, owner: T): void {
    const bytes = addressBytes(prefixAddress(prefix));
    const length = prefixLength(prefix);
    let node = ROOT;
    for (let i = 0; i < length; i++) {
      const bit = bitOf(bytes, i);
      let child = this.#child(node, bit);
      if (child === NONE) {
        child = this.#newNode();
        this.#children[2 * node + bit] = child;
      }
      node = child;
    }
    const owners = this.#ownersOf(node);
    if (owners.includes(owner)) return;
    this.#setOwners(node, [...owners, owner]);
  }

  /** Deleting what is absent does nothing. */
  delete(prefix: Prefix, owner: T): void {
    const path = [ROOT];
    const bytes = addressBytes(prefixAddress(prefix));
    const length = prefixLength(prefix);
    for (let i = 0; i < length; i++) {
      const next = this.#child(path[i] as number, bitOf(bytes, i));
      if (next === NONE) return;
      path.push(next);
    }
    const leaf = path[length] as number;
    const owners = this.#ownersOf(leaf).filter((other) => other !== owner);
    this.#setOwners(leaf, owners);
    for (let i = length; i > 0 && this.#isEmpty(path[i] as number); i--) {
      this.#children[2 * (path[i - 1] as number) + bitOf(bytes, i - 1)] = NONE;
      this.#free.push(path[i] as number);
    }
  }

  /** The owners of all prefixes that contain this one, equal it, or lie inside it. */
  overlapping(prefix: Prefix): T[] {
    const found: T[] = [];
    const bytes = addressBytes(prefixAddress(prefix));
    const length = prefixLength(prefix);
    let node = ROOT;
    for (let i = 0; i < length; i++) {
      if (this.#hasOwners(node)) found.push(...this.#ownersOf(node));
      node = this.#child(node, bitOf(bytes, i));
      if (node === NONE) return found;
    }
    this.#addOwnersBelow(node, found);
    return found;
  }

  #child(node: number, bit: 0 | 1): number {
    return this.#children[2 * node + bit] as number;
  }

  #newNode(): number {
    const free = this.#free.pop();
    if (free !== undefined) return free;
    const node = this.#nodes++;
    this.#children = columnFor(this.#children, 2 * node + 1);
    this.#places = columnFor(this.#places, node);
    return node;
  }

  #isEmpty(node: number): boolean {
    return this.#child(node, 0) === NONE && this.#child(node, 1) === NONE &&
      !this.#hasOwners(node);
  }

  #ownersOf(node: number): readonly T[] {
    const owners = this.#owners[(this.#places[node] as number) - 1];
    if (owners === undefined) return [];
    return Array.isArray(owners) ? owners : [owners as T];
  }

  #hasOwners(node: number): boolean {
    return this.#places[node] !== 0;
  }

  #setOwners(node: number, owners: readonly T[]): void {
    const known = (this.#places[node] as number) - 1;
    if (owners.length === 0) {
      if (known < 0) return;
      this.#owners[known] = undefined;
      this.#freePlaces.push(known);
      this.#places[node] = 0;
      return;
    }
    const place = known >= 0 ? known : this.#freePlaces.pop() ?? this.#owners.length;
    this.#owners[place] = owners.length > 1 ? owners : owners[0];
    this.#places[node] = place + 1;
  }

  #addOwnersBelow(node: number, found: T[]): void {
    if (this.#hasOwners(node)) found.push(...this.#ownersOf(node));
    for (const bit of [0, 1] as const) {
      const child = this.#child(node, bit);
      if (child !== NONE) this.#addOwnersBelow(child, found);
    }
  }
}

const ROOT = 0;
/** The root is no node's child. */
const NONE = 0;

function bitOf(bytes: Uint8Array, index: number): 0 | 1 {
  return ((bytes[index >> 3] as number) >> (7 - (index & 7)) & 1) as 0 | 1;
}
