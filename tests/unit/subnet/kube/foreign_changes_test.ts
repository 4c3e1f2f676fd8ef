/** Other programs that change this node's annotations: what is reported, how often it is undone. */

import { expect, test } from "bun:test";
import type { KubeManagedFields, KubeNodeMetadata } from "../../../../src/kube/kube_api.ts";
import { ForeignChanges } from "../../../../src/subnet/kube/foreign_changes.ts";
import { collectingLog } from "../../../support/collecting_log.ts";
import { FakeClock } from "../../../support/fake_clock.ts";

function observed() {
  const clock = new FakeClock(() => 0);
  const { log, records } = collectingLog();
  const changes = new ForeignChanges({ node: "n1", clock, log });
  return { changes, clock, lines: () => records.map(({ level, msg }) => `${level} ${msg}`) };
}

function node(
  annotations: Readonly<Record<string, string>>,
  managedFields: readonly KubeManagedFields[] = [],
): KubeNodeMetadata {
  return { name: "n1", uid: "u", resourceVersion: "7", createdMs: 0, annotations, managedFields };
}

const owner = (manager: string, timeMs: number | undefined, ...annotations: string[]) => ({
  manager,
  timeMs,
  annotations,
});

test.each<[string, KubeNodeMetadata, Record<string, string>, string]>([
  [
    "who owns the value",
    node({ a: "x" }, [owner("kubelet", 9, "b"), owner("kubectl-edit", 5, "a")]),
    { a: "1" },
    'warn "kubectl-edit" changed the annotation a to "x" of node "n1"; restoring',
  ],
  [
    "the last of several owners",
    node({ a: "x" }, [owner("c", undefined, "a"), owner("d", 5, "a"), owner("e", 4, "a")]),
    { a: "1" },
    'warn "d" changed the annotation a to "x" of node "n1"; restoring',
  ],
  [
    "how many more there are",
    node({ a: "x", b: "y", c: "z" }),
    { a: "1", b: "2", c: "3" },
    'warn another program changed the annotation a to "x" and 2 more of node "n1"; restoring',
  ],
  [
    "that it was removed",
    node({}, [owner("kubectl-edit", 5, "b")]),
    { a: "1" },
    'warn another program removed the annotation a of node "n1"; restoring',
  ],
])("the report names %s", (_, read, changed, line) => {
  const { changes, lines } = observed();
  changes.found(read, changed);
  expect(lines()).toEqual([line]);
});

test("no difference is no change", () => {
  const { changes, lines } = observed();
  for (let i = 0; i < 10; i++) changes.found(node({ a: "1" }), {});
  expect(lines()).toEqual([]);
  expect(changes.pauseMs()).toBe(0);
  expect(changes.problem).toBe(undefined);
});

test("each change is answered later than the one before, up to 30 seconds", () => {
  const { changes } = observed();
  const pauses = Array.from({ length: 9 }, () => {
    const pauseMs = changes.pauseMs();
    changes.found(node({ a: "x" }), { a: "1" });
    return pauseMs;
  });
  expect(pauses).toEqual([0, 500, 1000, 2000, 4000, 8000, 16_000, 30_000, 30_000]);
});

test("after a minute without a change, the next one is answered at once", async () => {
  const { changes, clock } = observed();
  changes.found(node({ a: "x" }), { a: "1" });
  changes.found(node({ a: "x" }), { a: "1" });
  await clock.advance(59_999);
  expect(changes.pauseMs()).toBe(1000);
  await clock.advance(1);
  expect(changes.pauseMs()).toBe(0);
  changes.found(node({ a: "x" }), { a: "1" });
  expect(changes.pauseMs()).toBe(500);
});

test("five changes are a problem until there is none for a minute", async () => {
  const { changes, clock } = observed();
  for (let i = 0; i < 4; i++) changes.found(node({ a: "x" }), { a: "1" });
  expect(changes.problem).toBe(undefined);
  changes.found(node({ a: "x" }), { a: "1" });
  expect(changes.problem).toBe(
    'another program changed the annotation a to "x" of node "n1", again and again; the other ' +
      "nodes may use its values; stop that program, or, if it is flanneld, make sure that " +
      'NODE_NAME is "n1" on one host only',
  );
  await clock.advance(60_000);
  expect(changes.problem).toBe(undefined);
});
