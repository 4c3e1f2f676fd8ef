/** A set of owners for each prefix of one family, which finds overlaps in time bound by the length. */

import { addressBytes } from "../addr/ip.ts";
import { type Prefix, prefixAddress, prefixLength } from "../addr/prefix.ts";

interface Node<T> {
  zero: Node<T> | undefined;
  one: Node<T> | undefined;
  owners: Set<T> | undefined;
}

/** A binary trie over the prefixes' bits. Two prefixes overlap when one is on the other's path. */
export class PrefixTrie<T> {
  readonly #root: Node<T> = emptyNode();

  add(prefix: Prefix, owner: T): void {
    let node = this.#root;
    for (const bit of bitsOf(prefix)) {
      const next: Node<T> = (bit ? node.one : node.zero) ?? emptyNode();
      if (bit) node.one = next;
      else node.zero = next;
      node = next;
    }
    (node.owners ??= new Set()).add(owner);
  }

  /** Removing what is not there does nothing. */
  delete(prefix: Prefix, owner: T): void {
    const path = [this.#root];
    const bits = bitsOf(prefix);
    for (const bit of bits) {
      const node = path.at(-1) as Node<T>;
      const next = bit ? node.one : node.zero;
      if (next === undefined) return;
      path.push(next);
    }
    const leaf = path.at(-1) as Node<T>;
    leaf.owners?.delete(owner);
    if (leaf.owners?.size === 0) leaf.owners = undefined;
    for (let i = path.length - 1; i > 0 && isEmpty(path[i] as Node<T>); i--) {
      const parent = path[i - 1] as Node<T>;
      if (bits[i - 1]) parent.one = undefined;
      else parent.zero = undefined;
    }
  }

  /** The owners of all prefixes that contain this one or lie inside it, itself among them. */
  *overlapping(prefix: Prefix): Generator<T> {
    let node = this.#root;
    for (const bit of bitsOf(prefix)) {
      if (node.owners) yield* node.owners;
      const next = bit ? node.one : node.zero;
      if (next === undefined) return;
      node = next;
    }
    yield* ownersBelow(node);
  }
}

function emptyNode<T>(): Node<T> {
  return { zero: undefined, one: undefined, owners: undefined };
}

function isEmpty<T>(node: Node<T>): boolean {
  return !node.zero && !node.one && !node.owners;
}

function* ownersBelow<T>(node: Node<T>): Generator<T> {
  if (node.owners) yield* node.owners;
  if (node.zero) yield* ownersBelow(node.zero);
  if (node.one) yield* ownersBelow(node.one);
}

function bitsOf(prefix: Prefix): boolean[] {
  const bytes = addressBytes(prefixAddress(prefix));
  return Array.from(
    { length: prefixLength(prefix) },
    (_, i) => ((bytes[i >> 3] as number) >> (7 - (i & 7)) & 1) === 1,
  );
}
