import { describe, expect, test } from "bun:test";
import {
  identitiesIn,
  type Identity,
  PeerIdentities,
} from "../../../src/backend/peer_identities.ts";
import { parseWireguardKey, type WireguardKey } from "../../../src/addr/wireguard_key.ts";
import type { Lease, LeaseKey } from "../../../src/subnet/lease.ts";
import { ip, lease as sampleLease, mac, prefix } from "../../support/sample_network.ts";

const KEY = "PublicKey A (flannel-wg)" as Identity;
const OTHER = "PublicKey B (flannel-wg)" as Identity;

/** The lease `name` of the node n, made at this revision. */
function lease(
  name: string,
  n: number,
  createRevision: number,
  modRevision = createRevision,
): Lease {
  return {
    ...sampleLease(n, "wireguard", [4]),
    key: name as LeaseKey,
    createRevision: BigInt(createRevision),
    modRevision: BigInt(modRevision),
  };
}

/** Who has what another of these claims, too. */
function rivals(
  identities: PeerIdentities,
  ...names: string[]
): Record<string, string | undefined> {
  return Object.fromEntries(
    names.map((name) => [name, identities.rivalOf(name as LeaseKey)?.holder.key]),
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
    "the one whose lease is older has it, told in the order %p",
    (order) => {
      const identities = new PeerIdentities();
      const leases = { old: lease("old", 2, 10), new: lease("new", 3, 20) };
      put(identities, ...order.map((name) => leases[name as "old" | "new"]));
      expect(rivals(identities, "old", "new")).toEqual({ old: undefined, new: "old" });
    },
  );

  test("the other one gets it when the first has gone, or claims it no more", () => {
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
      expect(rivals(identities, "b")).toEqual({ b: undefined });
    }
  });

  test("one whose lease is older, but said something else until now, is the later one", () => {
    const identities = new PeerIdentities();
    identities.put(lease("thief", 2, 10), [OTHER]);
    put(identities, lease("b", 3, 20));
    expect(put(identities, lease("thief", 2, 10, 30))).toEqual([[]]);
    expect(rivals(identities, "b", "thief")).toEqual({ b: undefined, thief: "b" });
  });

  test("one whose lease is rewritten, also with another address, keeps it", () => {
    const identities = new PeerIdentities();
    put(identities, lease("a", 2, 10), lease("b", 3, 20), lease("a", 2, 10, 30));
    put(identities, lease("a", 4, 10, 40));
    expect(rivals(identities, "a", "b")).toEqual({ a: undefined, b: "a" });
    remove(identities, "b");
    put(identities, lease("a", 5, 10, 50), lease("b", 3, 60));
    expect(rivals(identities, "a", "b")).toEqual({ a: undefined, b: "a" });
  });

  test("one whose lease was deleted and made again begins anew", () => {
    const identities = new PeerIdentities();
    put(identities, lease("a", 2, 10), lease("b", 3, 20));
    expect(put(identities, lease("a", 2, 30))).toEqual([["b"]]);
    expect(rivals(identities, "a", "b")).toEqual({ a: "b", b: undefined });
  });
});

describe("a node that was set up anew with its old key", () => {
  test("is known by its newest lease, whatever is told first", () => {
    const leases = [lease("old", 2, 10), lease("rival", 3, 20), lease("new", 2, 30)];
    for (const order of [[0, 1, 2], [2, 1, 0], [1, 2, 0], [2, 0, 1]]) {
      const identities = new PeerIdentities();
      put(identities, ...order.map((i) => leases[i] as Lease));
      expect(rivals(identities, "old", "rival", "new"))
        .toEqual({ old: "new", rival: "new", new: undefined });
    }
  });

  test("stays the first when its old lease expires, and falls back to it without the new one", () => {
    const identities = new PeerIdentities();
    put(identities, lease("old", 2, 10), lease("rival", 3, 20), lease("new", 2, 30));
    expect(remove(identities, "old")).toEqual([]);
    expect(rivals(identities, "rival", "new")).toEqual({ rival: "new", new: undefined });
    expect(put(identities, lease("old", 2, 10))).toEqual([[]]);
    expect(remove(identities, "new")).toEqual(["old"]);
    expect(rivals(identities, "old", "rival")).toEqual({ old: undefined, rival: "old" });
  });
});

test("a peer that claims several waits until it has all of them", () => {
  const identities = new PeerIdentities();
  identities.put(lease("a", 2, 10), [KEY]);
  identities.put(lease("b", 3, 20), [OTHER]);
  identities.put(lease("c", 4, 30), [KEY, OTHER]);
  expect(identities.rivalOf("c" as LeaseKey)).toMatchObject({
    identity: KEY,
    holder: { key: "a" },
  });
  expect(remove(identities, "a")).toEqual(["c"]);
  expect(rivals(identities, "c")).toEqual({ c: "b" });
  expect(remove(identities, "b")).toEqual(["c"]);
  expect(rivals(identities, "c")).toEqual({ c: undefined });
});

test("of many that claim one identity, a change concerns no more than two others", () => {
  const identities = new PeerIdentities();
  const names = Array.from({ length: 2_000 }, (_, i) => `n${i}`);
  const others = names.flatMap((name, i) =>
    identities.put({ ...lease(name, 2, i), attributes: attributesOf(i) }, [KEY])
  );
  expect(others).toEqual([]);
  for (const [i, name] of names.entries()) {
    expect(rivals(identities, name)).toEqual({ [name]: undefined });
    expect(remove(identities, name)).toEqual(names.slice(i + 1, i + 2));
  }
});

function attributesOf(n: number): Lease["attributes"] {
  const publicAddresses = { 4: ip(`172.16.${n >> 8}.${n & 255}`) };
  return { ...sampleLease(2, "wireguard", [4]).attributes, publicAddresses };
}

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
