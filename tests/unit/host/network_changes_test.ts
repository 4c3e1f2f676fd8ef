import { beforeEach, describe, expect, test } from "bun:test";
import { parseIpAddress } from "../../../src/addr/ip.ts";
import { parsePrefix } from "../../../src/addr/prefix.ts";
import { NetworkChanges } from "../../../src/host/network_changes.ts";
import type { KernelEvent } from "../../../src/kernel/kernel.ts";
import { type Route, RTPROT_FLANNEL } from "../../../src/state/resource.ts";
import { collectingLog } from "../../support/collecting_log.ts";
import { FakeClock } from "../../support/fake_clock.ts";

let clock: FakeClock;
let announce: (event: KernelEvent) => void;
let looks: { readonly atMs: number; readonly end: () => void }[];
let changes: NetworkChanges;

beforeEach(() => {
  clock = new FakeClock();
  looks = [];
  changes = new NetworkChanges({
    kernel: {
      watch: (listener) => {
        announce = listener;
        return { [Symbol.dispose]: () => void (announce = () => {}) };
      },
    },
    onChanged: () =>
      new Promise<void>((resolve) => looks.push({ atMs: clock.nowMs(), end: resolve })),
    clock,
    log: collectingLog().log,
  });
});

function route(protocol: number): KernelEvent {
  const resource: Route = {
    kind: "route",
    type: "unicast",
    destination: parsePrefix("10.5.1.0/24")!,
    link: "eth0",
    onlink: false,
    scope: "link",
    metric: 0,
    protocol,
    table: 254,
  };
  return { kind: "changed", resource, deleted: false };
}

const address: KernelEvent = {
  kind: "changed",
  resource: {
    kind: "address",
    link: "eth0",
    address: parseIpAddress("10.0.0.1")!,
    prefixLength: 24,
    scope: 0,
  } as never,
  deleted: true,
};

describe("changes of the network", () => {
  test("are collected, and handled once a second at most", async () => {
    for (let number = 0; number < 100; number++) announce(address);
    await clock.advance(300);
    expect(looks.length).toBe(1);
    looks[0]?.end();
    await clock.advance(1);
    for (let step = 0; step < 30; step++) {
      announce(route(2));
      await clock.advance(100);
      looks.at(-1)?.end();
    }
    expect(looks.length).toBeWithin(3, 5);
    const gaps = looks.slice(1).map(({ atMs }, index) => atMs - (looks[index]?.atMs ?? 0));
    expect(Math.min(...gaps)).toBeGreaterThanOrEqual(1_000);
  });

  test("during the handling are handled after it", async () => {
    announce({ kind: "overrun" });
    await clock.advance(300);
    announce(address);
    await clock.advance(5_000);
    expect(looks.length).toBe(1);
    looks[0]?.end();
    await clock.advance(300);
    expect(looks.length).toBe(2);
  });

  test("by this program's own routes, and of neighbours, are ignored", async () => {
    announce(route(RTPROT_FLANNEL));
    announce({ kind: "changed", resource: { kind: "neighbour" } as never, deleted: false });
    await clock.advance(5_000);
    expect(looks).toEqual([]);
  });

  test("are not handled after the end", async () => {
    announce(address);
    changes[Symbol.dispose]();
    await clock.advance(5_000);
    expect(looks).toEqual([]);
  });
});
