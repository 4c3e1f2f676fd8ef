/**
 * The owners of prefixes of one family. Overlaps are found in a time bounded by the prefix
 * length.
 */

import { addressBytes } from "../addr/ip.ts";
import { type Prefix, prefixAddress, prefixLength } from "../addr/prefix.ts";

interface Node<T> {
  zero: Node<T> | undefined;
  one: Node<T> | undefined;
  /** Nearly always one owner: a set for each prefix would use more memory than all the rest. */
  owners: T | readonly T[] | undefined;
}

/** A binary trie over the prefixes' bits. Two prefixes overlap when one is on the other's path. */
export class PrefixTrie<T extends object> {
  readonly #root: Node<T> = emptyNode();

  add(prefix: Prefix, owner: T): void {
    let node = this.#root;
    const bytes = addressBytes(prefixAddress(prefix));
    const length = prefixLength(prefix);
    for (let i = 0; i < length; i++) {
      if (isSet(bytes, i)) node = node.one ??= emptyNode();
      else node = node.zero ??= emptyNode();
    }
    const owners = ownersOf(node);
    if (!owners.includes(owner)) node.owners = owners.length === 0 ? owner : [...owners, owner];
  }

  /** Deleting what is absent does nothing. */
  delete(prefix: Prefix, owner: T): void {
    const path = [this.#root];
    const bytes = addressBytes(prefixAddress(prefix));
    const length = prefixLength(prefix);
    for (let i = 0; i < length; i++) {
      const node = path[i] as Node<T>;
      const next = isSet(bytes, i) ? node.one : node.zero;
      if (next === undefined) return;
      path.push(next);
    }
    const leaf = path[length] as Node<T>;
    const owners = ownersOf(leaf).filter((other) => other !== owner);
    leaf.owners = owners.length > 1 ? owners : owners[0];
    for (let i = length; i > 0 && isEmpty(path[i] as Node<T>); i--) {
      const parent = path[i - 1] as Node<T>;
      if (isSet(bytes, i - 1)) parent.one = undefined;
      else parent.zero = undefined;
    }
  }

  /** The owners of all prefixes that contain this one, equal it, or lie inside it. */
  overlapping(prefix: Prefix): T[] {
    const found: T[] = [];
    let node = this.#root;
    const bytes = addressBytes(prefixAddress(prefix));
    const length = prefixLength(prefix);
    for (let i = 0; i < length; i++) {
      if (node.owners !== undefined) found.push(...ownersOf(node));
      const next = isSet(bytes, i) ? node.one : node.zero;
      if (next === undefined) return found;
      node = next;
    }
    addOwnersBelow(node, found);
    return found;
  }
}

function emptyNode<T>(): Node<T> {
  return { zero: undefined, one: undefined, owners: undefined };
}

function isEmpty<T>(node: Node<T>): boolean {
  return node.zero === undefined && node.one === undefined && node.owners === undefined;
}

function ownersOf<T extends object>({ owners }: Node<T>): readonly T[] {
  if (owners === undefined) return [];
  return Array.isArray(owners) ? owners : [owners as T];
}

function addOwnersBelow<T extends object>(node: Node<T>, found: T[]): void {
  if (node.owners !== undefined) found.push(...ownersOf(node));
  if (node.zero) addOwnersBelow(node.zero, found);
  if (node.one) addOwnersBelow(node.one, found);
}

function isSet(bytes: Uint8Array, bit: number): boolean {
  return ((bytes[bit >> 3] as number) >> (7 - (bit & 7)) & 1) === 1;
}
