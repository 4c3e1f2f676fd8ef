/** Reading the pod CIDRs of nodes one by one: how many at once, and when again. */

import { expect, test } from "bun:test";
import type { KubeNode } from "../../../../src/kube/kube_api.ts";
import type { KubeError } from "../../../../src/kube/kube_error.ts";
import { NodeRecords } from "../../../../src/subnet/kube/node_records.ts";
import { PodCidrReader } from "../../../../src/subnet/kube/pod_cidr_reader.ts";
import { collectingLog } from "../../../support/collecting_log.ts";
import { FakeClock, settle } from "../../../support/fake_clock.ts";
import { kubeError } from "../../../support/fake_kube.ts";
import { annotationsOf, forever, NAMES } from "../../../support/kube_store.ts";

const RULES = { names: NAMES, format: {}, families: { 4: true } };

/** A reader with nodes whose pod CIDRs are not known. */
class Reading {
  readonly clock = new FakeClock(() => 0);
  readonly records = new NodeRecords(RULES);
  readonly reader: PodCidrReader;
  /** Such as `500 n2`. */
  readonly calls: string[] = [];
  /** The answers by the name of the node; without one, it has no pod CIDR. */
  readonly answers = new Map<string, readonly string[] | Error>();
  /** How often a record may have changed. */
  reads = 0;
  /** Every call waits for this. */
  gate: Promise<unknown> = Promise.resolve();
  readonly #lines = collectingLog("info");

  constructor() {
    const beginMs = this.clock.nowMs();
    this.reader = new PodCidrReader({
      api: {
        node: async (name) => {
          this.calls.push(`${this.clock.nowMs() - beginMs} ${name}`);
          await this.gate;
          const answer = this.answers.get(name) ?? [];
          if (answer instanceof Error) throw answer;
          return node(name, answer);
        },
      },
      records: this.records,
      onRead: () => this.reads++,
      clock: this.clock,
      log: this.#lines.log,
    });
  }

  join(...names: string[]): void {
    for (const name of names) this.records.put(node(name, []));
  }

  lines(): string[] {
    return this.#lines.records.map(({ level, msg }) => `${level} ${msg}`);
  }
}

function node(name: string, podCidrs: readonly string[]): KubeNode {
  return {
    name,
    uid: `uid-of-${name}`,
    resourceVersion: "7",
    createdMs: 0,
    managedFields: [],
    annotations: annotationsOf(2),
    podCidrs,
    conditions: [],
  };
}

const names = (count: number) => Array.from({ length: count }, (_, i) => `n${i}`);
const unreadable: KubeError = kubeError("server", "no");

test("eight nodes are read at once", async () => {
  const reading = new Reading();
  const gate = Promise.withResolvers<void>();
  reading.gate = gate.promise;
  reading.join(...names(20));
  for (const name of names(20)) reading.answers.set(name, ["10.244.2.0/24"]);
  const done = reading.reader.readDue(forever);
  await settle();
  expect(reading.calls).toHaveLength(8);
  gate.resolve();
  await done;
  expect(reading.calls.toSorted()).toEqual(names(20).map((name) => `0 ${name}`).toSorted());
  expect(reading.records.incomplete).toEqual([]);
  expect(reading.reads).toBe(20);
});

test("a node without a pod CIDR is read again at growing intervals, up to 30 s", async () => {
  const reading = new Reading();
  const stop = new AbortController();
  reading.join("n2");
  const run = reading.reader.run(stop.signal);
  await reading.clock.advance(100_000);
  const seconds = [0, 0.5, 1.5, 3.5, 7.5, 15.5, 31.5, 61.5, 91.5];
  expect(reading.calls).toEqual(seconds.map((second) => `${second * 1000} n2`));
  reading.answers.set("n2", ["10.244.2.0/24"]);
  await reading.clock.advance(21_500);
  expect(reading.records.isIncomplete("n2")).toBe(false);
  reading.calls.length = 0;
  await reading.clock.advance(600_000);
  expect(reading.calls).toEqual([]);
  stop.abort();
  await run.catch(() => {});
});

test("a node that joins is read at once, and the others when they are due", async () => {
  const reading = new Reading();
  const stop = new AbortController();
  reading.join("n2");
  const run = reading.reader.run(stop.signal);
  await reading.clock.advance(2000);
  reading.join("n3");
  reading.reader.nodeChanged("n3");
  await reading.clock.advance(600);
  expect(reading.calls).toEqual(["0 n2", "500 n2", "1500 n2", "2000 n3", "2500 n3"]);
  stop.abort();
  await run.catch(() => {});
});

test("a node that changes is read half a second after it was read, at the earliest", async () => {
  const reading = new Reading();
  const stop = new AbortController();
  reading.join("n2", "n3");
  const run = reading.reader.run(stop.signal);
  await reading.clock.advance(20_000);
  reading.calls.length = 0;
  reading.reader.nodeChanged("n2");
  await reading.clock.advance(100);
  for (let i = 0; i < 5; i++) reading.reader.nodeChanged("n2");
  await reading.clock.advance(11_399);
  expect(reading.calls).toEqual(["20000 n2", "20500 n2"]);
  // The other one is read when it is due: neither change concerns it.
  await reading.clock.advance(1);
  expect(reading.calls.slice(2)).toEqual(["31500 n3"]);
  stop.abort();
  await run.catch(() => {});
});

test("a node that joins again begins with the shortest interval", async () => {
  const reading = new Reading();
  reading.join("n2");
  await reading.reader.readDue(forever);
  await reading.clock.advance(500);
  await reading.reader.readDue(forever);
  reading.records.delete("n2");
  await reading.reader.readDue(forever);
  reading.join("n2");
  await reading.reader.readDue(forever);
  await reading.clock.advance(500);
  await reading.reader.readDue(forever);
  expect(reading.calls).toEqual(["0 n2", "500 n2", "500 n2", "1000 n2"]);
});

test("so does one whose pod CIDR was known in between", async () => {
  const reading = new Reading();
  reading.join("n2");
  await reading.reader.readDue(forever);
  reading.answers.set("n2", ["10.244.2.0/24"]);
  await reading.clock.advance(500);
  await reading.reader.readDue(forever);
  reading.answers.delete("n2");
  reading.records.put({ ...node("n2", []), uid: "another" });
  await reading.reader.readDue(forever);
  expect(reading.calls).toEqual(["0 n2", "500 n2", "500 n2"]);
});

test("a failure is logged, and its end; a node that is gone is none", async () => {
  const reading = new Reading();
  reading.join("n2", "n3");
  reading.answers.set("n2", unreadable);
  reading.answers.set("n3", kubeError("not-found", "gone"));
  await reading.reader.readDue(forever);
  expect(reading.lines()).toEqual(["warn reading the pod CIDRs of a node failed: no"]);
  expect(reading.reads).toBe(0);
  reading.answers.set("n2", ["10.244.2.0/24"]);
  await reading.clock.advance(500);
  await reading.reader.readDue(forever);
  expect(reading.lines().slice(1)).toEqual([
    "info reading the pod CIDRs of a node works again after 1 failure in 500 ms",
  ]);
});

test("an error that is not the API's is thrown", async () => {
  const reading = new Reading();
  reading.join("n2");
  const bug = new TypeError("a bug");
  reading.answers.set("n2", bug);
  expect(await reading.reader.run(forever).catch((error) => error)).toBe(bug);
});

test("an abort ends the reading silently, and no other node is read", async () => {
  const reading = new Reading();
  const stop = new AbortController();
  const gate = Promise.withResolvers<void>();
  reading.gate = gate.promise;
  reading.join(...names(9));
  for (const name of names(9)) reading.answers.set(name, new TypeError("aborted"));
  const done = reading.reader.readDue(stop.signal);
  await settle();
  stop.abort();
  gate.resolve();
  await done;
  expect(reading.calls).toHaveLength(8);
  expect(reading.lines()).toEqual([]);
});

test("without nodes to read, it pauses for a time that a timer can hold", async () => {
  const reading = new Reading();
  const stop = new AbortController();
  const delays: number[] = [];
  const setTimer = reading.clock.setTimer.bind(reading.clock);
  reading.clock.setTimer = (delayMs, callback) => {
    delays.push(delayMs);
    return setTimer(delayMs, callback);
  };
  const run = reading.reader.run(stop.signal);
  await settle();
  expect(delays).toEqual([3_600_000]);
  stop.abort();
  await run.catch(() => {});
});
