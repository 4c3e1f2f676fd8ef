import { expect, test } from "bun:test";
import { unlessAborted, whenAborted } from "../../../src/base/abort.ts";

test("whenAborted() resolves when the signal aborts", async () => {
  const stop = new AbortController();
  let isResolved = false;
  const aborted = whenAborted(stop.signal).then(() => isResolved = true);
  await Bun.sleep(1);
  expect(isResolved).toBe(false);
  stop.abort();
  await aborted;
  expect(isResolved).toBe(true);
});

test("whenAborted() resolves at once for an aborted signal", async () => {
  await whenAborted(AbortSignal.abort());
});

test("unlessAborted() returns the result of the promise", async () => {
  expect(await unlessAborted(Promise.resolve(7), new AbortController().signal)).toBe(7);
});

test("unlessAborted() throws the reason of the signal, before or during the wait", async () => {
  const reason = new Error("stopped");
  const forever = new Promise<void>(() => undefined);
  await expect(unlessAborted(forever, AbortSignal.abort(reason))).rejects.toBe(reason);
  const stop = new AbortController();
  const waiting = unlessAborted(forever, stop.signal);
  stop.abort(reason);
  await expect(waiting).rejects.toBe(reason);
});

test("unlessAborted() handles a rejection after the abort", async () => {
  const late = Promise.withResolvers<void>();
  const stop = new AbortController();
  const waiting = unlessAborted(late.promise, stop.signal);
  stop.abort(new Error("stopped"));
  await expect(waiting).rejects.toThrow("stopped");
  late.reject(new Error("late"));
  await Bun.sleep(1);
});

test("unlessAborted() handles a rejection when the signal had aborted before", async () => {
  const late = Promise.withResolvers<void>();
  const waiting = unlessAborted(late.promise, AbortSignal.abort(new Error("stopped")));
  await expect(waiting).rejects.toThrow("stopped");
  late.reject(new Error("late"));
  await Bun.sleep(1);
});
