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
    file: "src/reconcile/entry_planner.ts",
    original: 'desired.type === "vxlan"',
    replacement: "true",
    reason: "no other device has an underlay; the compiler does not know that",
  },
  {
    file: "src/reconcile/entry_planner.ts",
    original: "name === undefined",
    replacement: "false",
    reason: "no device is named undefined, so that nothing waits for it",
  },
  {
    file: "src/reconcile/entry_planner.ts",
    original: 'actual?.kind === "link"',
    replacement: "true",
    reason: "the key of a device leads to a device; the compiler does not know that",
  },
  {
    file: "src/reconcile/batch_applier.ts",
    original: "default: return assertNever(decision);",
    replacement: "default:",
    reason: "the compiler checks that no decision gets here",
  },
  {
    file: "src/reconcile/dump_loader.ts",
    original: "entry.desired === undefined",
    replacement: "true",
    reason: "an entry that is in sync stays as it is, and is only checked once more",
  },
  {
    file: "src/reconcile/owners.ts",
    original: "keys.length > 0",
    replacement: "true",
    reason: "an owner with an empty list has no entries, and only takes memory",
  },
  {
    file: "src/reconcile/owners.ts",
    original: "keys.length > 0",
    replacement: "keys.length >= 0",
    reason: "an owner with an empty list has no entries, and only takes memory",
  },
  {
    file: "src/reconcile/entry_table.ts",
    original:
      "entry.desired === undefined || entry.owner === owner && entry.otherClaims === undefined",
    replacement: "false",
    reason: "a shortcut: of one claim alone, that one wins",
  },
  {
    file: "src/reconcile/entry_table.ts",
    original:
      "entry.desired === undefined || entry.owner === owner && entry.otherClaims === undefined",
    replacement:
      "entry.desired === undefined && entry.owner === owner && entry.otherClaims === undefined",
    reason: "a shortcut: of one claim alone, that one wins",
  },
  {
    file: "src/reconcile/entry_table.ts",
    original: "entry.owner === owner && entry.otherClaims === undefined",
    replacement: "false",
    reason: "a shortcut: of one claim alone, that one wins",
  },
  {
    file: "src/reconcile/entry_table.ts",
    original: "isOnlyClaim",
    replacement: "false",
    reason: "a shortcut: of one claim alone, that one wins",
  },
  {
    file: "src/reconcile/entry_table.ts",
    original: "previous !== undefined",
    replacement: "true",
    reason: "an entry with a claim is desired and has an owner; the compiler does not know that",
  },
  {
    file: "src/reconcile/entry_table.ts",
    original: "entry.desired === undefined || entry.owner === undefined",
    replacement: "false",
    reason: "an entry with a claim is desired and has an owner; the compiler does not know that",
  },
  {
    file: "src/reconcile/entry_table.ts",
    original: "entry.desired === undefined || entry.owner === undefined",
    replacement: "entry.desired === undefined && entry.owner === undefined",
    reason: "an entry with a claim is desired and has an owner; the compiler does not know that",
  },
  {
    file: "src/reconcile/entry_table.ts",
    original: "entry.desired === undefined",
    replacement: "false",
    reason: "an entry with a claim is desired and has an owner; the compiler does not know that",
  },
  {
    file: "src/reconcile/entry_table.ts",
    original: "entry.owner === undefined",
    replacement: "false",
    reason: "an entry with a claim is desired and has an owner; the compiler does not know that",
  },
  {
    file: "src/reconcile/entry_table.ts",
    original: "a.precedence > b.precedence",
    replacement: "a.precedence >= b.precedence",
    reason: "they are compared only where they differ",
  },
  {
    file: "src/reconcile/entry_table.ts",
    original: "a.owner < b.owner",
    replacement: "a.owner <= b.owner",
    reason: "the claims of an entry have different owners",
  },
  {
    file: "src/reconcile/failures.ts",
    original: "entry.failure === undefined",
    replacement: "false",
    reason: "a shortcut: an entry without a failure is not among the failures",
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
    file: "src/subnet/lease_table.ts",
    original: "x.created < y.created",
    replacement: "x.created <= y.created",
    reason: "they are compared only where they differ",
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
    file: "src/overlay/departing_peers.ts",
    original: "others.size === 0",
    replacement: "false",
    reason: "an empty set finds no lease, and only takes memory",
  },
  {
    file: "src/overlay/departing_peers.ts",
    original: "this.#departures.size === 0",
    replacement: "false",
    reason: "a shortcut: where there is none, none is found",
  },
  {
    file: "src/overlay/ipv4_network.ts",
    original: "network === undefined",
    replacement: "false",
    reason: "a network has a family; the compiler does not know that",
  },
  {
    file: "src/overlay/lease_event_trace.ts",
    original: "default: assertNever(event);",
    replacement: "default:",
    reason: "the compiler checks that no event gets here",
  },
  {
    file: "src/overlay/orphans.ts",
    original: 'entry.kind === "xfrm-policy"',
    replacement: "true",
    reason: "only policies were asked for; the compiler does not know that",
  },
  {
    file: "src/overlay/orphans.ts",
    original: 'entry.kind === "link"',
    replacement: "true",
    reason: "only devices were asked for; the compiler does not know that",
  },
  {
    file: "src/overlay/orphans.ts",
    original: "results[failed]?.message",
    replacement: "results[failed].message",
    reason: "this one has failed; the compiler does not know that",
  },
  {
    file: "src/overlay/orphans.ts",
    original: 'link.type === "ipip"',
    replacement: "true",
    reason: "no other device has such a port",
  },
  {
    file: "src/overlay/overlay_controller.ts",
    original: "peer !== undefined",
    replacement: "true",
    reason: "a departing peer is among the peers; the compiler does not know that",
  },
  {
    file: "src/overlay/peer_identities.ts",
    original: "before.length === 0 && identities.length === 0",
    replacement: "false",
    reason: "a shortcut: of no identities none is claimed or given up",
  },
  {
    file: "src/overlay/peer_identities.ts",
    original: "claims.length > 0",
    replacement: "true",
    reason: "a peer with an empty list of claims has none, and only takes memory",
  },
  {
    file: "src/overlay/peer_identities.ts",
    original: "claims.length > 0",
    replacement: "claims.length >= 0",
    reason: "a peer with an empty list of claims has none, and only takes memory",
  },
  {
    file: "src/overlay/peer_identities.ts",
    original: "claim.since < node.since",
    replacement: "claim.since <= node.since",
    reason: "it is put where it was",
  },
  {
    file: "src/overlay/peer_identities.ts",
    original: "a.since < b.since",
    replacement: "a.since <= b.since",
    reason: "they are compared only where they differ",
  },
  {
    file: "src/overlay/peer_identities.ts",
    original: "a.created > b.created",
    replacement: "a.created >= b.created",
    reason: "they are compared only where they differ",
  },
  {
    file: "src/overlay/peer_reachability.ts",
    original: "this.#epoch++",
    replacement: "this.#epoch--",
    reason: "only asked is whether it is another number than before",
  },
  {
    file: "src/overlay/target_peers.ts",
    original: "this.#target?.remove",
    replacement: "this.#target.remove",
    reason: "without a target there are no peers; the compiler does not know that",
  },
  {
    file: "src/backend/vxlan/vxlan.ts",
    original: "options.MTU !== undefined",
    replacement: "true",
    reason: "nothing is less than undefined; the compiler does not know that",
  },
  {
    file: "src/addr/ip.ts",
    original: "i < 8",
    replacement: "i <= 8",
    reason: "after the last group there is none that is zero",
  },
  {
    file: "src/addr/prefix.ts",
    original: "slash < 0",
    replacement: "false",
    reason: "without a slash, the whole text is no length",
  },
  {
    file: "src/addr/prefix.ts",
    original: "slash < 0",
    replacement: "slash <= 0",
    reason: "no address is empty",
  },
  {
    file: "src/addr/prefix.ts",
    original: "length === bits",
    replacement: "false",
    reason: "a shortcut: a mask of all bits changes nothing",
  },
  {
    file: "src/addr/prefix.ts",
    original: "whole < masked.length",
    replacement: "true",
    reason: "a write past the end of an array of bytes does nothing",
  },
  {
    file: "src/addr/prefix.ts",
    original: "whole < masked.length",
    replacement: "whole <= masked.length",
    reason: "a write past the end of an array of bytes does nothing",
  },
  {
    file: "src/config/option_schema.ts",
    original: 'typeof value === "number"',
    replacement: "true",
    reason: "only a number is an integer; the compiler does not know that",
  },
  {
    file: "src/subnet/etcd/own_records.ts",
    original: "!mayName(record.value, address)",
    replacement: "false",
    reason:
      "a shortcut: a lease that does not carry the address is not taken for this node's once " +
      "it is decoded",
  },
  {
    file: "src/subnet/etcd/own_records.ts",
    original: 'familyOf(address) === 6 || value.includes(address) || value.includes("\\\\")',
    replacement: "true",
    reason:
      "a shortcut: a lease that does not carry the address is not taken for this node's once " +
      "it is decoded",
  },
  {
    file: "src/subnet/etcd/key_events.ts",
    original: "{ keyValue: undefined }",
    replacement: "{}",
    reason: "what an object does not have is undefined",
  },
  {
    file: "src/subnet/etcd/key_events.ts",
    original: "default: return assertNever(event);",
    replacement: "default:",
    reason: "the compiler checks that no event gets here",
  },
  {
    file: "src/subnet/lease_table.ts",
    original: "(family) => families[family]",
    replacement: "() => undefined",
    reason: "a shortcut: a copy with the same families is the same lease",
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
