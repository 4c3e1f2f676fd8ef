import { beforeEach, describe, expect, test } from "bun:test";
import { ResyncQueue } from "../../../src/reconcile/resync_queue.ts";
import { FakeClock } from "../../support/fake_clock.ts";
import { warningsLog } from "../../support/sample_network.ts";

const EVERY_MS = 300_000;
const FAULT = new Error("the dump was interrupted");

let clock: FakeClock;
let log: ReturnType<typeof warningsLog>;
let resync: ResyncQueue;
let calls: number;

beforeEach(() => {
  clock = new FakeClock(() => 0.5);
  log = warningsLog();
  calls = 0;
  resync = new ResyncQueue({ clock, log, resyncMs: EVERY_MS, onWork: () => void calls++ });
});

function dumpAll(): void {
  expect(resync.due()).toBe("all");
  resync.begin("all");
  resync.succeeded("all");
}

describe("ResyncQueue", () => {
  test("begins with a full dump, at once", () => {
    expect(resync.isPending).toBe(true);
    expect(resync.hasDumpedAll).toBe(false);
    expect(resync.isVerified).toBe(false);
    expect(resync.nextMs).toBe(0);
    dumpAll();
    expect(resync.isPending).toBe(false);
    expect(resync.hasDumpedAll).toBe(true);
    expect(resync.isVerified).toBe(true);
    expect(resync.due()).toBeUndefined();
  });

  test.each([[0, 0.9], [0.5, 1], [0.999999, 1.1]])(
    "requests a full dump after the period, plus or minus a tenth (random number %d)",
    (chance, factor) => {
      clock.random = () => chance;
      dumpAll();
      expect(resync.nextMs).toBeCloseTo(clock.nowMs() + factor * EVERY_MS, -1);
    },
  );

  test("requests a full dump when the period is over, and not before", async () => {
    dumpAll();
    await clock.advance(EVERY_MS - 1);
    expect(resync.due()).toBeUndefined();
    await clock.advance(1);
    dumpAll();
    expect(resync.due()).toBeUndefined();
  });

  test("dumps the requested devices together and once", () => {
    dumpAll();
    resync.request("flannel.1");
    resync.request("flannel-v6.1");
    expect(calls).toBe(2);
    expect(resync.isPending).toBe(true);
    expect(resync.nextMs).toBe(0);
    const scope = resync.due() as ReadonlySet<string>;
    expect([...scope]).toEqual(["flannel.1", "flannel-v6.1"]);
    resync.begin(scope);
    expect([...scope]).toHaveLength(2);
    resync.succeeded(scope);
    expect(resync.isPending).toBe(false);
    expect(resync.due()).toBeUndefined();
  });

  test("keeps requests during a dump for the next one", () => {
    dumpAll();
    resync.request("flannel.1");
    const scope = resync.due() as ReadonlySet<string>;
    resync.requestAll();
    resync.begin(scope);
    resync.request("flannel-v6.1");
    resync.succeeded(scope);
    expect(resync.due()).toBe("all");
    resync.begin("all");
    resync.succeeded("all");
    expect(resync.due()).toBeUndefined();
  });

  test("does not dump a device again that loading its dump requests", () => {
    dumpAll();
    resync.request("requested before");
    resync.load((device) => device !== "not dumped", () => {
      resync.request("dumped just now");
      resync.request("not dumped");
    });
    expect([...resync.due() as ReadonlySet<string>]).toEqual(["not dumped", "requested before"]);
  });

  test("has work when a full dump is requested", () => {
    dumpAll();
    resync.requestAll();
    expect(calls).toBe(1);
    expect(resync.due()).toBe("all");
  });
});

describe("ResyncQueue, when a dump fails,", () => {
  test("is not verified, and retries with growing delays", async () => {
    dumpAll();
    for (const delayMs of [75, 150, 300]) {
      resync.requestAll();
      resync.begin("all");
      resync.failed("all", FAULT);
      expect(resync.isVerified).toBe(false);
      expect(resync.hasDumpedAll).toBe(true);
      expect(resync.isPending).toBe(true);
      expect(resync.nextMs).toBe(clock.nowMs() + delayMs);
      await clock.advance(delayMs - 1);
      expect(resync.due()).toBeUndefined();
      await clock.advance(1);
      expect(resync.due()).toBe("all");
    }
  });

  test("logs the first, second, fourth and eighth failure, and starts over after a success", () => {
    for (let i = 0; i < 9; i++) resync.failed("all", FAULT);
    expect(log.lines).toEqual(
      Array(4).fill(
        "the dump was interrupted; retrying, no entry is deleted until a dump succeeds",
      ),
    );
    resync.succeeded("all");
    resync.failed("all", FAULT);
    expect(log.lines).toHaveLength(5);
    expect(resync.nextMs).toBe(clock.nowMs() + 75);
  });

  test("requests the devices that were not dumped again, and only those", async () => {
    dumpAll();
    const scope = new Set(["flannel.1"]);
    resync.begin(scope);
    resync.failed(scope, FAULT);
    await clock.advance(1000);
    expect([...resync.due() as ReadonlySet<string>]).toEqual(["flannel.1"]);
  });

  test("is verified only after a full dump, which it requests at once", () => {
    dumpAll();
    const scope = new Set(["flannel.1"]);
    resync.failed(scope, FAULT);
    resync.begin(scope);
    resync.succeeded(scope);
    expect(resync.isVerified).toBe(false);
    expect(resync.due()).toBe("all");
    resync.begin("all");
    resync.succeeded("all");
    expect(resync.isVerified).toBe(true);
    resync.begin(scope);
    resync.succeeded(scope);
    expect(resync.due()).toBeUndefined();
  });

  test("waits no longer when everything that is known has become worthless", () => {
    resync.failed("all", FAULT);
    expect(resync.due()).toBeUndefined();
    resync.requestAllNow();
    expect(calls).toBe(1);
    expect(resync.due()).toBe("all");
  });

  test("waits before it reads everything when a pass failed, longer each time", async () => {
    dumpAll();
    resync.requestAllLater(1);
    expect(resync.nextMs).toBe(clock.nowMs() + 75);
    expect(resync.due()).toBeUndefined();
    resync.requestAllLater(3);
    expect(resync.nextMs).toBe(clock.nowMs() + 300);
    await clock.advance(300);
    expect(resync.due()).toBe("all");
  });

  test("delays for half a minute at most", () => {
    resync.requestAllLater(30);
    expect(resync.nextMs).toBe(clock.nowMs() + 22_500);
  });

  test("has no delay for requests after a success", () => {
    resync.failed("all", FAULT);
    resync.begin("all");
    resync.succeeded("all");
    resync.request("flannel.1");
    expect(resync.due()).toEqual(new Set(["flannel.1"]));
  });
});
