import { expect, test } from "bun:test";
import { SerialQueue } from "../../../src/base/serial_queue.ts";

test("tasks run one at a time, in order", async () => {
  const queue = new SerialQueue();
  const events: string[] = [];
  const first = Promise.withResolvers<void>();
  const results = [
    queue.run(async () => {
      events.push("first begins");
      await first.promise;
      events.push("first ends");
      return 1;
    }),
    queue.run(() => {
      events.push("second");
      return 2;
    }),
  ];
  await Bun.sleep(0);
  expect(events).toEqual(["first begins"]);
  first.resolve();
  expect(await Promise.all(results)).toEqual([1, 2]);
  expect(events).toEqual(["first begins", "first ends", "second"]);
});

test("a failed task rejects its own result only", async () => {
  const queue = new SerialQueue();
  const failed = queue.run(() => Promise.reject(new Error("broken")));
  const next = queue.run(() => "fine");
  await expect(failed).rejects.toThrow("broken");
  expect(await next).toBe("fine");
});

test("idle() resolves after the last task, even a failed one", async () => {
  const queue = new SerialQueue();
  let hasEnded = false;
  const failed = queue.run(async () => {
    await Bun.sleep(1);
    hasEnded = true;
    throw new Error("broken");
  });
  failed.catch(() => undefined);
  await queue.idle();
  expect(hasEnded).toBe(true);
});
