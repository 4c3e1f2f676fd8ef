/** What is known of all nodes, and which of their leases have changed. */

import { describe, expect, test } from "bun:test";
import type { KubeNodeMetadata } from "../../../../src/kube/kube_api.ts";
import { NodeRecords } from "../../../../src/subnet/kube/node_records.ts";
import { annotationsOf, DUAL, NAMES } from "../../../support/kube_store.ts";

const RULES = { names: NAMES, format: {}, families: { 4: true } };
const CIDRS = ["10.244.2.0/24"];

function node(
  name: string,
  annotations: Record<string, string> = annotationsOf(2),
  fields: Partial<KubeNodeMetadata> = {},
): KubeNodeMetadata {
  return {
    name,
    uid: `uid-of-${name}`,
    resourceVersion: "7",
    createdMs: 1000,
    managedFields: [],
    annotations,
    ...fields,
  };
}

function whole(metadata: KubeNodeMetadata, podCidrs: readonly string[] = CIDRS) {
  return { ...metadata, podCidrs };
}

/** All changes, as `put node/a`. */
function changesOf(records: NodeRecords): string[] {
  const changes: string[] = [];
  for (let change = records.takeChange(); change !== undefined; change = records.takeChange()) {
    switch (change.kind) {
      case "put":
        changes.push(`put ${change.lease.key}`);
        break;
      case "invalid":
        changes.push(`invalid ${change.invalid.key}`);
        break;
      case "delete":
        changes.push(`delete ${change.key}`);
    }
  }
  return changes;
}

describe("a change", () => {
  test("is there until it is taken", () => {
    const records = new NodeRecords(RULES);
    expect(records.hasChange).toBe(false);
    records.putWithPodCidrs(whole(node("a")));
    expect(records.hasChange).toBe(true);
    expect(changesOf(records)).toEqual(["put node/a"]);
    expect(records.hasChange).toBe(false);
    records.put(node("a", annotationsOf(3)));
    records.put(node("a", annotationsOf(4)));
    expect(changesOf(records)).toEqual(["put node/a"]);
    records.delete("a");
    expect(changesOf(records)).toEqual(["delete node/a"]);
  });

  test("is none if the node has no lease, before and after it", () => {
    const records = new NodeRecords(RULES);
    records.putWithPodCidrs(whole(node("plain", {})));
    records.put(node("plain", { other: "x" }));
    records.delete("plain");
    records.delete("unknown");
    expect(records.hasChange).toBe(false);
    // Its pod CIDRs are not known yet.
    records.put(node("new"));
    expect(records.hasChange).toBe(false);
    expect(records.incomplete).toEqual(["new"]);
    records.delete("new");
    expect(records.hasChange).toBe(false);
    expect(records.incomplete).toEqual([]);
    expect(records.size).toBe(0);
  });

  test("of a node that is not in a list any more is its end", () => {
    const records = new NodeRecords(RULES);
    for (const name of ["a", "b", "c"]) records.putWithPodCidrs(whole(node(name)));
    records.snapshot();
    records.retain(new Set(["a", "c", "d"]));
    expect(changesOf(records)).toEqual(["delete node/b"]);
    expect(records.size).toBe(2);
  });
});

describe("pod CIDRs", () => {
  test("are those of the node with this uid, and of no other one", () => {
    const records = new NodeRecords(RULES);
    records.put(node("a"));
    records.complete(whole(node("a", annotationsOf(2), { uid: "another" })));
    records.complete(whole(node("b")));
    expect(records.isIncomplete("a")).toBe(true);
    expect(records.hasChange).toBe(false);
    records.complete(whole(node("a", {})));
    expect(records.isIncomplete("a")).toBe(false);
    expect(changesOf(records)).toEqual(["put node/a"]);
    records.put(node("a", annotationsOf(3), { uid: "another" }));
    expect(records.isIncomplete("a")).toBe(true);
    expect(changesOf(records)).toEqual(["delete node/a"]);
  });

  test("that are not assigned yet are read again", () => {
    const records = new NodeRecords(RULES);
    records.putWithPodCidrs(whole(node("a"), []));
    expect(records.incomplete).toEqual(["a"]);
    expect(changesOf(records)).toEqual(["invalid node/a"]);
  });
});

test("a snapshot has all leases, those that cannot be read, and the newest change", () => {
  const records = new NodeRecords(RULES);
  expect(records.snapshot()).toEqual({ kind: "snapshot", leases: [], invalid: [], revision: 0n });
  records.putWithPodCidrs(whole(node("a", annotationsOf(2), { createdMs: 3000 })));
  records.putWithPodCidrs(whole(node("b", annotationsOf(3), { createdMs: 5000 })));
  records.putWithPodCidrs(whole(node("c", annotationsOf(4), { createdMs: 4000 })));
  records.putWithPodCidrs(whole(node("plain", {})));
  const broken = { ...annotationsOf(5), [NAMES.publicAddress[4]]: "nowhere" };
  records.putWithPodCidrs(whole(node("broken", broken)));
  const { leases, invalid, revision } = records.snapshot();
  expect(leases.map(({ key }) => String(key))).toEqual(["node/a", "node/b", "node/c"]);
  expect(invalid.map(({ key }) => String(key))).toEqual(["node/broken"]);
  expect(revision).toBe(5000n);
  expect(records.hasChange).toBe(false);
});

test("the nodes with an address are those whose lease has it, of either family", () => {
  const records = new NodeRecords({ ...RULES, families: DUAL.families });
  const dual = (n: number) => ({
    ...annotationsOf(n),
    [NAMES.publicAddress[6]]: `2001:db8::${n}`,
    [NAMES.backendData[6]]: "null",
  });
  const cidrs = [...CIDRS, "fd00:10::/64"];
  records.putWithPodCidrs(whole(node("a", dual(2)), cidrs));
  records.putWithPodCidrs(whole(node("b", dual(3)), cidrs));
  records.putWithPodCidrs(whole(node("c", dual(2)), cidrs));
  records.putWithPodCidrs(whole(node("plain", {}), cidrs));
  records.putWithPodCidrs(whole(node("broken", dual(2)), ["garbage"]));
  expect(records.withAddress("192.0.0.2" as never)).toEqual(["a", "c"]);
  expect(records.withAddress("2001:db8::3" as never)).toEqual(["b"]);
  expect(records.withAddress("192.0.0.9" as never)).toEqual([]);
});
