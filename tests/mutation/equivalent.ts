/**
 * Mutants that no test can notice, each with the reason why the program behaves the same. Simplify
 * the code instead, where that removes the mutant.
 */
export interface Equivalent {
  readonly file: string;
  /** The replaced text and its replacement, as the report shows them. */
  readonly original: string;
  readonly replacement: string;
  readonly reason: string;
}

export const EQUIVALENT: readonly Equivalent[] = [
  {
    file: "src/state/same_resource.ts",
    original: "desired === actual",
    replacement: "false",
    reason: "a shortcut: an object has the same fields as itself",
  },
  {
    file: "src/state/same_resource.ts",
    original: "a === b",
    replacement: "false",
    reason: "a shortcut: an object has the same fields as itself",
  },
  {
    file: "src/state/kinds/route.ts",
    original: "link !== undefined",
    replacement: "true",
    reason: "no set of device names contains undefined; the compiler does not know that",
  },
  {
    file: "src/state/ownership.ts",
    original: "name === undefined",
    replacement: "false",
    reason: "no set of device names contains undefined; the compiler does not know that",
  },
  {
    file: "src/state/plan.ts",
    original: 'resource.kind === "link"',
    replacement: "true",
    reason:
      "only devices have a name, and the other one of the two conditions still checks the kind",
  },
  {
    file: "src/subnet/lease_table.ts",
    original: "candidate.accepted",
    replacement: "true",
    reason: "a shortcut: what did not hold its subnet kept no other lease from it",
  },
  {
    file: "src/subnet/lease_table.ts",
    original: "familiesOf(lease.subnets).every((family) => families[family])",
    replacement: "false",
    reason: "a shortcut: a copy with the same families is the same lease",
  },
  {
    file: "src/subnet/allocation.ts",
    original: "a.first > b.first",
    replacement: "true",
    reason: "ranges that begin together may come in either order",
  },
  {
    file: "src/subnet/lease_table.ts",
    original: "x.createRevision < y.createRevision",
    replacement: "x.createRevision <= y.createRevision",
    reason: "they are compared only where they differ",
  },
  {
    file: "src/subnet/allocation.ts",
    original: "a.first < b.first",
    replacement: "a.first <= b.first",
    reason: "ranges that begin alike may come in any order",
  },
  {
    file: "src/subnet/prefix_trie.ts",
    original: "owners.length === 0",
    replacement: "false",
    reason: "an array of one owner is that owner, and only takes more memory",
  },
  {
    file: "src/subnet/prefix_trie.ts",
    original: "owners.length > 1",
    replacement: "owners.length >= 1",
    reason: "an array of one owner is that owner, and only takes more memory",
  },
  {
    file: "src/subnet/prefix_trie.ts",
    original: "node.owners !== undefined",
    replacement: "true",
    reason: "a shortcut: of no owners none is added",
  },
  {
    file: "src/subnet/prefix_trie.ts",
    original: "{ zero: undefined, one: undefined, owners: undefined }",
    replacement: "{}",
    reason: "what an object does not have is undefined",
  },
  {
    file: "src/subnet/prefix_trie.ts",
    original: "((bytes[bit >> 3] as number) >> (7 - (bit & 7)) & 1) === 1",
    replacement: "((bytes[bit >> 3] as number) >> 7 - (bit & 7) & 1) !== 1",
    reason: "the two sides of the whole trie change places",
  },
  {
    file: "src/subnet/subnet_file.ts",
    original: "{ return undefined; }",
    replacement: "{}",
    reason: "the function's end gives the same",
  },
  {
    file: "src/subnet/etcd/live_session.ts",
    original: "this.#foreignChanges++",
    replacement: "this.#foreignChanges--",
    reason: "only asked is whether it is another number than before",
  },
  {
    file: "src/subnet/etcd/live_session.ts",
    original: '"start"',
    replacement: '""',
    reason: "only asked is whether it is later",
  },
  {
    file: "src/subnet/etcd/live_session.ts",
    original: "polls++",
    replacement: "polls--",
    reason: "only asked is whether it is the first one",
  },
  {
    file: "src/subnet/etcd/live_session.ts",
    original: "{ return undefined; }",
    replacement: "{}",
    reason: "what is undefined is no object, which gives the same",
  },
  {
    file: "src/subnet/etcd/live_session.ts",
    original: 'typeof fields !== "object"',
    replacement: "false",
    reason: "a number or a text has no identity, which gives the same",
  },
  {
    file: "src/subnet/etcd/etcd_own_lease.ts",
    original: "item.key === key",
    replacement: "true",
    reason: "the keys are sorted: none that begins with this one comes before it, and another's " +
      "revision is another one",
  },
  {
    file: "src/subnet/etcd/etcd_lease_store.ts",
    original: "lease === undefined || isInvalidLease(lease)",
    replacement: "false",
    reason: "one that cannot be read is not among this node's; the compiler does not know that",
  },
  {
    file: "src/subnet/etcd/node_session.ts",
    original: "isAlive !== undefined",
    replacement: "true",
    reason: "the first event of a watch is a snapshot, after which it is known",
  },
  {
    file: "src/subnet/etcd/subnet_acquisition.ts",
    original: "ttlSeconds <= 0",
    replacement: "false",
    reason:
      "the key of an etcd lease that has expired is gone, so that the write fails, which gives " +
      "the same",
  },
  {
    file: "src/subnet/etcd/previous_leases.ts",
    original: "!mayContain(record.value, identity)",
    replacement: "false",
    reason:
      "a shortcut: a lease that does not carry the identity is not taken for this node's once " +
      "it is decoded",
  },
  {
    file: "src/subnet/etcd/previous_leases.ts",
    original: 'texts.some((text) => value.includes(text)) || value.includes("\\\\")',
    replacement: "true",
    reason:
      "a shortcut: a lease that does not carry the identity is not taken for this node's once " +
      "it is decoded",
  },
  {
    file: "src/subnet/etcd/previous_leases.ts",
    original: '"\\\\"',
    replacement: '""',
    reason:
      "a shortcut: a lease that does not carry the identity is not taken for this node's once " +
      "it is decoded",
  },
  {
    file: "src/etcd/client/tls_socket.ts",
    original: "isIP(host) === 0",
    replacement: "false",
    reason: "Bun sends the host's name as the server name also if it is not given; Node does not",
  },
  {
    file: "src/etcd/client/tls_socket.ts",
    original: "{ servername: host }",
    replacement: "{}",
    reason: "Bun sends the host's name as the server name also if it is not given; Node does not",
  },
];
