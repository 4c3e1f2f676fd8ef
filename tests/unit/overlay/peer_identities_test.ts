import { describe, expect, test } from "bun:test";
import {
  conflictText,
  identitiesIn,
  type Identity,
  PeerIdentities,
} from "../../../src/overlay/peer_identities.ts";
import { parseWireguardKey, type WireguardKey } from "../../../src/addr/wireguard_key.ts";
import type { Lease, LeaseKey } from "../../../src/subnet/lease.ts";
import { ip, lease as sampleLease, mac, prefix } from "../../support/sample_network.ts";

const KEY = "PublicKey A (flannel-wg)" as Identity;
const OTHER = "PublicKey B (flannel-wg)" as Identity;

/** The lease `name` of the node n, made at this revision. */
function lease(
  name: string,
  n: number,
  created: number,
  changed = created,
): Lease {
  return {
    ...sampleLease(n, "wireguard", [4]),
    key: name as LeaseKey,
    created: BigInt(created),
    changed: BigInt(changed),
  };
}

/** For each of these leases, the lease that holds what it claims. */
function holders(
  identities: PeerIdentities,
  ...names: string[]
): Record<string, string | undefined> {
  return Object.fromEntries(
    names.map((name) => [name, identities.conflictOf(name as LeaseKey)?.holder.key]),
  );
}

function put(identities: PeerIdentities, ...leases: Lease[]): string[][] {
  return leases.map((one) => identities.put(one, [KEY]));
}

function remove(identities: PeerIdentities, name: string): string[] {
  return identities.remove(name as LeaseKey);
}

describe("of two nodes that claim one identity", () => {
  test.each([[["old", "new"]], [["new", "old"]]])(
    "the one whose lease is older has it, if they arrive in the order %p",
    (order) => {
      const identities = new PeerIdentities();
      const leases = { old: lease("old", 2, 10), new: lease("new", 3, 20) };
      put(identities, ...order.map((name) => leases[name as "old" | "new"]));
      expect(holders(identities, "old", "new")).toEqual({ old: undefined, new: "old" });
    },
  );

  test("the other one gets it when the first is gone or no longer claims it", () => {
    for (
      const goes of [
        (identities: PeerIdentities) => remove(identities, "a"),
        (identities: PeerIdentities): string[] => identities.put(lease("a", 2, 10, 30), [OTHER]),
        (identities: PeerIdentities): string[] => identities.put(lease("a", 2, 10, 30), []),
      ]
    ) {
      const identities = new PeerIdentities();
      expect(put(identities, lease("a", 2, 10), lease("b", 3, 20))).toEqual([[], []]);
      expect(goes(identities)).toEqual(["b"]);
      expect(holders(identities, "b")).toEqual({ b: undefined });
    }
  });

  test("one whose lease is older, but claimed something else before, is the later one", () => {
    const identities = new PeerIdentities();
    identities.put(lease("thief", 2, 10), [OTHER]);
    put(identities, lease("b", 3, 20));
    expect(put(identities, lease("thief", 2, 10, 30))).toEqual([[]]);
    expect(holders(identities, "b", "thief")).toEqual({ b: undefined, thief: "b" });
  });

  test("one whose lease is rewritten, even with another address, keeps it", () => {
    const identities = new PeerIdentities();
    put(identities, lease("a", 2, 10), lease("b", 3, 20), lease("a", 2, 10, 30));
    put(identities, lease("a", 4, 10, 40));
    expect(holders(identities, "a", "b")).toEqual({ a: undefined, b: "a" });
    remove(identities, "b");
    put(identities, lease("a", 5, 10, 50), lease("b", 3, 60));
    expect(holders(identities, "a", "b")).toEqual({ a: undefined, b: "a" });
  });

  test("a change of anything else in its lease concerns neither", () => {
    let calls = 0;
    const identities = new PeerIdentities(() => calls++);
    put(identities, lease("a", 2, 10), lease("b", 3, 20));
    const before = calls;
    expect(put(identities, lease("a", 2, 10, 30), lease("b", 3, 20, 40))).toEqual([[], []]);
    expect(calls).toBe(before);
    expect(identities.conflictOf("b" as LeaseKey)?.holder.changed).toBe(30n);
  });

  test("one whose lease was deleted and created again is the later one", () => {
    const identities = new PeerIdentities();
    put(identities, lease("a", 2, 10), lease("b", 3, 20));
    expect(put(identities, lease("a", 2, 30))).toEqual([["b"]]);
    expect(holders(identities, "a", "b")).toEqual({ a: "b", b: undefined });
  });
});

describe("a node that was set up again with its old key", () => {
  test("is known by its newest lease, whichever arrives first", () => {
    const leases = [lease("old", 2, 10), lease("rival", 3, 20), lease("new", 2, 30)];
    for (const order of [[0, 1, 2], [2, 1, 0], [1, 2, 0], [2, 0, 1]]) {
      const identities = new PeerIdentities();
      put(identities, ...order.map((i) => leases[i] as Lease));
      expect(holders(identities, "old", "rival", "new"))
        .toEqual({ old: "new", rival: "new", new: undefined });
    }
  });

  test("stays the first when its old lease expires, and uses it without the new one", () => {
    const identities = new PeerIdentities();
    put(identities, lease("old", 2, 10), lease("rival", 3, 20), lease("new", 2, 30));
    expect(remove(identities, "old")).toEqual([]);
    expect(holders(identities, "rival", "new")).toEqual({ rival: "new", new: undefined });
    expect(put(identities, lease("old", 2, 10))).toEqual([[]]);
    expect(remove(identities, "new")).toEqual(["old"]);
    expect(holders(identities, "old", "rival")).toEqual({ old: undefined, rival: "old" });
  });
});

describe("of nodes that claim one identity and may be alive", () => {
  const address = (n: number) => lease("x", n, 1).attributes.publicAddresses[4] as string;
  const alive = (...nodes: number[]) => new Set(nodes.map(address));

  test("the one that is alive has it, though its lease is younger", () => {
    const identities = new PeerIdentities();
    put(identities, lease("dead", 2, 10), lease("alive", 3, 20), lease("third", 4, 30));
    expect(identities.setLiveNodes(alive(3)) as string[]).toEqual(["dead", "alive"]);
    expect(holders(identities, "dead", "alive", "third"))
      .toEqual({ dead: "alive", alive: undefined, third: "alive" });
    expect(identities.conflictOf("dead" as LeaseKey)?.onlyHolderIsAlive).toBe(true);
    expect(identities.setLiveNodes(alive(3, 4)) as string[]).toEqual([]);
    expect(identities.conflictOf("third" as LeaseKey)?.onlyHolderIsAlive).toBe(false);
  });

  test("the first has it when both are, or neither is", () => {
    const identities = new PeerIdentities();
    put(identities, lease("first", 2, 10), lease("second", 3, 20));
    for (const nodes of [[2, 3], [], [2]]) {
      identities.setLiveNodes(alive(...nodes));
      expect(holders(identities, "first", "second")).toEqual({ first: undefined, second: "first" });
    }
    identities.setLiveNodes(alive(3));
    expect(identities.setLiveNodes(alive(2, 3)) as string[]).toEqual(["second", "first"]);
    expect(holders(identities, "first", "second")).toEqual({ first: undefined, second: "first" });
  });

  test("a node that claims something else or nothing does not matter", () => {
    const identities = new PeerIdentities();
    put(identities, lease("first", 2, 10), lease("second", 3, 20));
    identities.put(lease("other", 4, 30), [OTHER]);
    expect(identities.setLiveNodes(alive(4, 5))).toEqual([]);
    expect(holders(identities, "first", "second", "other"))
      .toEqual({ first: undefined, second: "first", other: undefined });
  });

  test("a later claim counts as alive if its node is known to be alive by then", () => {
    const leases = [lease("dead", 2, 10), lease("alive", 3, 20)];
    for (const order of [leases, leases.toReversed()]) {
      const identities = new PeerIdentities();
      identities.setLiveNodes(alive(3));
      put(identities, ...order);
      expect(holders(identities, "dead", "alive")).toEqual({ dead: "alive", alive: undefined });
    }
  });

  test("their addresses are reported as long as they conflict", () => {
    let calls = 0;
    const identities = new PeerIdentities(() => calls++);
    put(identities, lease("a", 2, 10));
    expect([calls, identities.conflictingAddresses.size]).toEqual([0, 0]);
    put(identities, lease("a2", 2, 15)); // One more of the same node.
    expect([calls, identities.conflictingAddresses.size]).toEqual([0, 0]);
    put(identities, lease("b", 3, 20));
    expect(calls).toBe(1);
    expect(identities.conflictingAddresses).toEqual(alive(2, 3));
    const before = calls;
    remove(identities, "a");
    expect([calls, identities.conflictingAddresses.size]).toEqual([before, 2]);
    remove(identities, "b");
    expect([calls, identities.conflictingAddresses.size]).toEqual([before + 1, 0]);
  });
});

describe("of leases that were created at one revision", () => {
  test("the node with the lower address has it, whichever arrives first", () => {
    const leases = [5, 3, 2, 4].map((n) => lease(`of-${n}`, n, 10));
    for (const order of [leases, leases.toReversed(), leases.toSorted()]) {
      const identities = new PeerIdentities();
      put(identities, ...order);
      for (const n of [2, 3, 4]) {
        expect(holders(identities, `of-${n}`, "of-5"))
          .toEqual({ [`of-${n}`]: undefined, "of-5": `of-${n}` });
        expect(remove(identities, `of-${n}`)).toEqual([`of-${n + 1}`]);
      }
    }
  });

  test("one without an address has it, and only the other is reported", () => {
    const leases = [
      { ...lease("none", 2, 10), attributes: withoutAddress() },
      lease("of-3", 3, 10),
    ];
    for (const order of [leases, leases.toReversed()]) {
      const identities = new PeerIdentities();
      put(identities, ...order);
      expect(holders(identities, "none", "of-3")).toEqual({ none: undefined, "of-3": "none" });
      expect(identities.conflictingAddresses).toEqual(new Set(["192.168.0.3"]));
    }
  });

  test("of one node, the first by its key counts, whichever arrives first", () => {
    const leases = ["c", "a", "d", "b"].map((name) => lease(name, 2, 10));
    for (const order of [leases, leases.toReversed()]) {
      const identities = new PeerIdentities();
      put(identities, ...order);
      for (const [name, next] of [["a", "b"], ["b", "c"], ["c", "d"]] as const) {
        expect(holders(identities, name, "d")).toEqual({ [name]: undefined, d: name });
        expect(remove(identities, name)).toEqual([next]);
      }
    }
  });
});

test("a lease that is rewritten with another node's address is that node's from then on", () => {
  const identities = new PeerIdentities();
  put(identities, lease("a", 2, 10), lease("b", 3, 20), lease("c", 4, 30));
  expect(holders(identities, "b", "c")).toEqual({ b: "a", c: "a" });
  expect(put(identities, lease("a", 3, 10, 40))).toEqual([["b"]]);
  expect(holders(identities, "a", "b", "c")).toEqual({ a: "b", b: undefined, c: "b" });
  expect(identities.conflictingAddresses).toEqual(new Set(["192.168.0.3", "192.168.0.4"]));
});

test("a new lease counts from its creation, not from its last change", () => {
  const identities = new PeerIdentities();
  put(identities, lease("b", 3, 20), lease("a", 2, 10, 50));
  expect(holders(identities, "a", "b")).toEqual({ a: undefined, b: "a" });
});

test("a node keeps the time of its first claim with each of its leases", () => {
  // By the lease that wins for it, when the older one goes and its address changes.
  const one = new PeerIdentities();
  put(one, lease("old", 2, 10), lease("new", 2, 30));
  remove(one, "old");
  put(one, lease("new", 4, 30, 40), lease("rival", 3, 20));
  expect(holders(one, "new", "rival")).toEqual({ new: undefined, rival: "new" });
  // By one that does not win for it, when that moves to another address.
  const two = new PeerIdentities();
  put(two, lease("older", 2, 10), lease("rival", 3, 20), lease("new", 2, 30), lease("mid", 2, 25));
  remove(two, "older");
  put(two, lease("mid", 5, 25, 50));
  remove(two, "new");
  expect(holders(two, "mid", "rival")).toEqual({ mid: undefined, rival: "mid" });
});

test("a peer that claims several waits until it has all of them", () => {
  const identities = new PeerIdentities();
  identities.put(lease("a", 2, 10), [KEY]);
  identities.put(lease("b", 3, 20), [OTHER]);
  identities.put(lease("c", 4, 30), [KEY, OTHER]);
  expect(identities.conflictOf("c" as LeaseKey)).toMatchObject({
    identity: KEY,
    holder: { key: "a" },
  });
  expect(remove(identities, "a")).toEqual(["c"]);
  expect(holders(identities, "c")).toEqual({ c: "b" });
  expect(remove(identities, "b")).toEqual(["c"]);
  expect(holders(identities, "c")).toEqual({ c: undefined });
});

test("of many that claim one identity, a change concerns no more than two others", () => {
  const identities = new PeerIdentities();
  const names = Array.from({ length: 2_000 }, (_, i) => `n${i}`);
  const others = names.flatMap((name, i) =>
    identities.put({ ...lease(name, 2, i), attributes: attributesOf(i) }, [KEY])
  );
  expect(others).toEqual([]);
  for (const [i, name] of names.entries()) {
    expect(holders(identities, name)).toEqual({ [name]: undefined });
    expect(remove(identities, name)).toEqual(names.slice(i + 1, i + 2));
  }
});

function withoutAddress(): Lease["attributes"] {
  return { ...sampleLease(2, "wireguard", [4]).attributes, publicAddresses: {} };
}

function attributesOf(n: number): Lease["attributes"] {
  const publicAddresses = { 4: ip(`172.16.${n >> 8}.${n & 255}`) };
  return { ...sampleLease(2, "wireguard", [4]).attributes, publicAddresses };
}

test.each([
  [
    lease("b", 2, 20),
    false,
    "belongs to lease b, a newer lease of the same node 192.168.0.2",
  ],
  [
    lease("b", 3, 20),
    true,
    "belongs to lease b, whose node 192.168.0.3 is alive, while 192.168.0.2 is not",
  ],
  [
    lease("b", 3, 20),
    false,
    "belongs to lease b, whose node 192.168.0.3 claimed it first; if one host is a copy of the " +
    "other, give the copy its own; if it is one host whose address has changed, delete its " +
    "previous lease",
  ],
])("conflictText() says who has the identity, and why: %#", (holder, onlyHolderIsAlive, text) => {
  const conflict = { identity: KEY, holder, onlyHolderIsAlive };
  expect(conflictText(lease("a", 2, 10), conflict)).toBe(`its ${KEY} ${text}`);
});

test("identitiesIn() finds MAC addresses and public keys, by the device, and nothing else", () => {
  const publicKey = parseWireguardKey(
    "9jalV3EEBnVXahro0pRMQ+cHlmjE33Slo9tddzCVtCw=",
  ) as WireguardKey;
  const link = "flannel.1";
  expect(identitiesIn([
    { kind: "neighbour", link, address: ip("10.5.2.0"), mac: mac(2) },
    { kind: "fdb", link, mac: mac(2), remote: ip("192.168.0.2") },
    {
      kind: "wireguard-peer",
      link: "flannel-wg",
      publicKey,
      keepaliveSeconds: 0,
      allowedIps: [prefix("10.5.2.0/24")],
    },
  ])).toEqual(
    [`VtepMAC ${mac(2)} (flannel.1)`, `PublicKey ${publicKey} (flannel-wg)`] as Identity[],
  );
});
