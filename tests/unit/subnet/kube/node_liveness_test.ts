/** Whether the node with an address is alive, as its condition Ready says. */

import { expect, test } from "bun:test";
import type { KubeNode } from "../../../../src/kube/kube_api.ts";
import { watchNodeAlive } from "../../../../src/subnet/kube/node_liveness.ts";
import { collectingLog } from "../../../support/collecting_log.ts";
import { FakeClock, settle } from "../../../support/fake_clock.ts";
import { kubeError } from "../../../support/fake_kube.ts";

const PERIOD_MS = 12_000;
const WHAT = "reading whether the node with public address 192.0.2.7 is ready";

/** A reader of the condition, and what it sees. */
class Watching implements AsyncDisposable {
  readonly clock = new FakeClock(() => 0);
  /** Names of the nodes with the address. */
  names: readonly string[] = ["n2"];
  /** The conditions of each node as `TYPE STATUS`, or what reading it throws. */
  readonly answers = new Map<string, readonly string[] | Error>();
  /** Each call waits for this. */
  gate: Promise<void> = Promise.resolve();
  readonly calls: string[] = [];
  readonly states: boolean[] = [];
  /** The error with which the watch ended, or "ended". */
  end: unknown;
  readonly stop = new AbortController();
  readonly #lines = collectingLog("info");
  readonly #done: Promise<void>;

  constructor() {
    this.#done = this.#run();
  }

  lines(): string[] {
    return this.#lines.records.map(({ level, msg }) => `${level} ${msg}`);
  }

  async #run(): Promise<void> {
    await settle(); // The test sets the answers.
    const { clock } = this;
    const records = { withAddress: () => [...this.names] };
    const options = { api: { node: this.#node.bind(this) }, records, clock, log: this.#lines.log };
    try {
      for await (const alive of watchNodeAlive("192.0.2.7" as never, options, this.stop.signal)) {
        this.states.push(alive);
      }
      this.end = "ended";
    } catch (error) {
      this.end = error;
    }
  }

  async #node(name: string): Promise<KubeNode> {
    this.calls.push(name);
    await this.gate;
    const answer = this.answers.get(name) ?? kubeError("not-found", "gone");
    if (answer instanceof Error) throw answer;
    const conditions = answer.map((text) => {
      const [type = "", status = ""] = text.split(" ");
      return { type, status, reason: "", message: "" };
    });
    return { name, conditions } as unknown as KubeNode;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.stop.abort(new Error("enough"));
    await this.#done;
  }
}

test("the state of a node is there at once, and then each change of it", async () => {
  await using watching = new Watching();
  watching.answers.set("n2", ["MemoryPressure False", "Ready True"]);
  await settle();
  await settle();
  expect(watching.states).toEqual([true]);
  await watching.clock.advance(5 * PERIOD_MS);
  expect(watching.states).toEqual([true]);
  expect(watching.calls).toHaveLength(6);
  for (const conditions of [["Ready Unknown"], ["MemoryPressure True"], []]) {
    watching.answers.set("n2", conditions);
    await watching.clock.advance(PERIOD_MS);
  }
  expect(watching.states).toEqual([true, false]);
  watching.answers.set("n2", ["Ready True"]);
  await watching.clock.advance(PERIOD_MS);
  expect(watching.states).toEqual([true, false, true]);
  watching.answers.delete("n2");
  await watching.clock.advance(PERIOD_MS);
  expect(watching.states).toEqual([true, false, true, false]);
  expect(watching.lines()).toEqual([]);
});

test("of several nodes with the address, eight at most are read, until one is ready", async () => {
  await using watching = new Watching();
  watching.names = Array.from({ length: 9 }, (_, i) => `n${i}`);
  watching.answers.set("n8", ["Ready True"]);
  await settle();
  await settle();
  expect(watching.calls).toEqual(watching.names.slice(0, 8));
  expect(watching.states).toEqual([false]);
  watching.answers.set("n1", ["Ready True"]);
  await watching.clock.advance(PERIOD_MS);
  expect(watching.calls.slice(8)).toEqual(["n0", "n1"]);
  expect(watching.states).toEqual([false, true]);
});

test("a failure is logged, and changes nothing", async () => {
  await using watching = new Watching();
  watching.answers.set("n2", kubeError("server", "no"));
  await settle();
  await watching.clock.advance(2 * PERIOD_MS);
  expect(watching.states).toEqual([]);
  expect(watching.lines()).toEqual([`warn ${WHAT} failed: no`]);
  watching.answers.set("n2", ["Ready True"]);
  await watching.clock.advance(PERIOD_MS);
  expect(watching.states).toEqual([true]);
  expect(watching.lines()[1]).toStartWith(`info ${WHAT} works again`);
  watching.answers.set("n2", kubeError("forbidden", "you may not"));
  await watching.clock.advance(PERIOD_MS);
  watching.answers.set("n2", ["Ready True"]);
  await watching.clock.advance(10 * PERIOD_MS);
  expect(watching.states).toEqual([true]);
  expect(watching.end).toBe(undefined);
});

test("without permission to read nodes it ends without a state, and a bug is thrown", async () => {
  for (const error of [kubeError("forbidden", "you may not"), new TypeError("a bug")]) {
    await using watching = new Watching();
    watching.answers.set("n2", error);
    await settle();
    await settle();
    expect(watching.end).toBe(error instanceof TypeError ? error : "ended");
    expect(watching.states).toEqual([]);
    expect(watching.lines()).toEqual([]);
  }
});

test("an abort ends it silently, also while a node is read", async () => {
  const watching = new Watching();
  watching.answers.set("n2", new TypeError("aborted"));
  await Promise.resolve();
  watching.stop.abort(new Error("enough"));
  await watching[Symbol.asyncDispose]();
  expect(watching.end).toBe("ended");
  expect(watching.calls).toEqual([]);
  const reading = new Watching();
  const { promise, resolve } = Promise.withResolvers<void>();
  reading.gate = promise;
  reading.answers.set("n2", new TypeError("aborted"));
  await settle();
  reading.stop.abort(new Error("enough"));
  resolve();
  await reading[Symbol.asyncDispose]();
  expect(reading.calls).toEqual(["n2"]);
  expect(reading.end).toBe("ended");
  expect(reading.lines()).toEqual([]);
});
