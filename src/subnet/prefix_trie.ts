/**
 * The owners of prefixes of one family. Overlaps are found in a time bounded by the prefix
 * length.
 */

import { addressBytes } from "../addr/ip.ts";
import { type Prefix, prefixAddress, prefixLength } from "../addr/prefix.ts";

/** A binary trie over the prefixes' bits. Two prefixes overlap when one is on the other's path. */
export class PrefixTrie<T extends object | number> {
  /**
   * The children of node `n` are at `2 * n` and `2 * n + 1`; 0 for none. Node 0 is the root.
   * Numbers take a fraction of the memory of objects.
   */
  #children = new Uint32Array(2 * MIN_NODES);
  /** By node. Nearly always one owner. */
  readonly #owners: (T | readonly T[] | undefined)[] = [undefined];
  /** Nodes that are not in use. */
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
    this.#owners[node] = owners.length === 0 ? owner : [...owners, owner];
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
    this.#owners[leaf] = owners.length > 1 ? owners : owners[0];
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
      if (this.#owners[node] !== undefined) found.push(...this.#ownersOf(node));
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
    const node = this.#owners.push(undefined) - 1;
    if (2 * node >= this.#children.length) {
      const larger = new Uint32Array(2 * this.#children.length);
      larger.set(this.#children);
      this.#children = larger;
    }
    return node;
  }

  #isEmpty(node: number): boolean {
    return this.#child(node, 0) === NONE && this.#child(node, 1) === NONE &&
      this.#owners[node] === undefined;
  }

  #ownersOf(node: number): readonly T[] {
    const owners = this.#owners[node];
    if (owners === undefined) return [];
    return Array.isArray(owners) ? owners : [owners as T];
  }

  #addOwnersBelow(node: number, found: T[]): void {
    if (this.#owners[node] !== undefined) found.push(...this.#ownersOf(node));
    for (const bit of [0, 1] as const) {
      const child = this.#child(node, bit);
      if (child !== NONE) this.#addOwnersBelow(child, found);
    }
  }
}

const ROOT = 0;
/** The root is no node's child. */
const NONE = 0;
const MIN_NODES = 64;

function bitOf(bytes: Uint8Array, index: number): 0 | 1 {
  return ((bytes[index >> 3] as number) >> (7 - (index & 7)) & 1) as 0 | 1;
}
