import { beforeEach, describe, expect, test } from "bun:test";
import { ResyncQueue } from "../../../src/reconcile/resync_queue.ts";
import { FakeClock } from "../../support/fake_clock.ts";
import { collectingLog } from "../../support/sample_network.ts";

const EVERY_MS = 300_000;
const FAULT = new Error("the dump was interrupted");

let clock: FakeClock;
let log: ReturnType<typeof collectingLog>;
let readings: ResyncQueue;
let calls: number;

beforeEach(() => {
  clock = new FakeClock(() => 0.5);
  log = collectingLog();
  calls = 0;
  readings = new ResyncQueue({ clock, log, everyMs: EVERY_MS, onWork: () => void calls++ });
});

function readAll(): void {
  expect(readings.due()).toBe("all");
  readings.begin("all");
  readings.succeeded("all");
}

describe("Readings", () => {
  test("begins with everything, at once", () => {
    expect(readings.isPending).toBe(true);
    expect(readings.hasDumpedAll).toBe(false);
    expect(readings.isVerified).toBe(false);
    expect(readings.nextMs).toBe(0);
    readAll();
    expect(readings.isPending).toBe(false);
    expect(readings.hasDumpedAll).toBe(true);
    expect(readings.isVerified).toBe(true);
    expect(readings.due()).toBeUndefined();
  });

  test.each([[0, 0.9], [0.5, 1], [0.999999, 1.1]])(
    "reads everything again after the period, give or take a tenth (chance %d)",
    (chance, factor) => {
      clock.random = () => chance;
      readAll();
      expect(readings.nextMs).toBeCloseTo(clock.nowMs() + factor * EVERY_MS, -1);
    },
  );

  test("reads everything when the period is over, and not before", async () => {
    readAll();
    await clock.advance(EVERY_MS - 1);
    expect(readings.due()).toBeUndefined();
    await clock.advance(1);
    readAll();
    expect(readings.due()).toBeUndefined();
  });

  test("reads the devices that were asked for, together and once", () => {
    readAll();
    readings.request("flannel.1");
    readings.request("flannel-v6.1");
    expect(calls).toBe(2);
    expect(readings.isPending).toBe(true);
    expect(readings.nextMs).toBe(0);
    const scope = readings.due() as ReadonlySet<string>;
    expect([...scope]).toEqual(["flannel.1", "flannel-v6.1"]);
    readings.begin(scope);
    expect([...scope]).toHaveLength(2);
    readings.succeeded(scope);
    expect(readings.isPending).toBe(false);
    expect(readings.due()).toBeUndefined();
  });

  test("keeps what is asked for during a reading for the next one", () => {
    readAll();
    readings.request("flannel.1");
    const scope = readings.due() as ReadonlySet<string>;
    readings.requestAll();
    readings.begin(scope);
    readings.request("flannel-v6.1");
    readings.succeeded(scope);
    expect(readings.due()).toBe("all");
    readings.begin("all");
    readings.succeeded("all");
    expect(readings.due()).toBeUndefined();
  });

  test("does not read a device again that what was just read of it asks for", () => {
    readAll();
    readings.request("asked before");
    readings.load((device) => device !== "not read", () => {
      readings.request("read just now");
      readings.request("not read");
    });
    expect([...readings.due() as ReadonlySet<string>]).toEqual(["not read", "asked before"]);
  });

  test("asks for work when everything is asked for", () => {
    readAll();
    readings.requestAll();
    expect(calls).toBe(1);
    expect(readings.due()).toBe("all");
  });
});

describe("Readings, when the kernel cannot be read,", () => {
  test("trusts nothing, and tries again later with each failure", async () => {
    readAll();
    for (const delayMs of [75, 150, 300]) {
      readings.requestAll();
      readings.begin("all");
      readings.failed("all", FAULT);
      expect(readings.isVerified).toBe(false);
      expect(readings.hasDumpedAll).toBe(true);
      expect(readings.isPending).toBe(true);
      expect(readings.nextMs).toBe(clock.nowMs() + delayMs);
      await clock.advance(delayMs - 1);
      expect(readings.due()).toBeUndefined();
      await clock.advance(1);
      expect(readings.due()).toBe("all");
    }
  });

  test("says so the first, second, fourth and eighth time, and counts from one again after a success", () => {
    for (let i = 0; i < 9; i++) readings.failed("all", FAULT);
    expect(log.lines).toEqual(
      Array(4).fill(
        "the dump was interrupted; retrying, no entry is deleted until a dump succeeds",
      ),
    );
    readings.succeeded("all");
    readings.failed("all", FAULT);
    expect(log.lines).toHaveLength(5);
    expect(readings.nextMs).toBe(clock.nowMs() + 75);
  });

  test("asks again for the devices that were not read, and for those only", async () => {
    readAll();
    const scope = new Set(["flannel.1"]);
    readings.begin(scope);
    readings.failed(scope, FAULT);
    await clock.advance(1000);
    expect([...readings.due() as ReadonlySet<string>]).toEqual(["flannel.1"]);
  });

  test("trusts what it knows only after everything was read, at once", () => {
    readAll();
    const scope = new Set(["flannel.1"]);
    readings.failed(scope, FAULT);
    readings.begin(scope);
    readings.succeeded(scope);
    expect(readings.isVerified).toBe(false);
    expect(readings.due()).toBe("all");
    readings.begin("all");
    readings.succeeded("all");
    expect(readings.isVerified).toBe(true);
    readings.begin(scope);
    readings.succeeded(scope);
    expect(readings.due()).toBeUndefined();
  });

  test("waits no longer when everything that is known has become worthless", () => {
    readings.failed("all", FAULT);
    expect(readings.due()).toBeUndefined();
    readings.requestAllNow();
    expect(calls).toBe(1);
    expect(readings.due()).toBe("all");
  });

  test("waits before it reads everything when a pass failed, longer each time", async () => {
    readAll();
    readings.requestAllLater(1);
    expect(readings.nextMs).toBe(clock.nowMs() + 75);
    expect(readings.due()).toBeUndefined();
    readings.requestAllLater(3);
    expect(readings.nextMs).toBe(clock.nowMs() + 300);
    await clock.advance(300);
    expect(readings.due()).toBe("all");
  });

  test("waits half a minute at most", () => {
    readings.requestAllLater(30);
    expect(readings.nextMs).toBe(clock.nowMs() + 22_500);
  });

  test("reads what is asked for after a success without waiting", () => {
    readings.failed("all", FAULT);
    readings.begin("all");
    readings.succeeded("all");
    readings.request("flannel.1");
    expect(readings.due()).toEqual(new Set(["flannel.1"]));
  });
});
