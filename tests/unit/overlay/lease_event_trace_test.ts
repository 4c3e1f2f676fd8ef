import { expect, test } from "bun:test";
import pino from "pino";
import { traceLeaseEvent } from "../../../src/overlay/lease_event_trace.ts";
import type { LeaseKey, LeaseWatch } from "../../../src/subnet/lease.ts";
import { collectingLog } from "../../support/collecting_log.ts";
import { lease } from "../../support/sample_network.ts";

const invalid = { key: "broken" as LeaseKey, reason: "it is no JSON" };
const EVENTS: LeaseWatch[] = [
  { kind: "snapshot", leases: [lease(2, "vxlan", [4])], invalid: [invalid], revision: 70n },
  { kind: "put", lease: { ...lease(3, "vxlan", [4]), changed: 71n } },
  { kind: "invalid", invalid },
  { kind: "delete", key: "node-3" as LeaseKey },
];

test("traceLeaseEvent() logs each event with its lease and revision", () => {
  const { log, records } = collectingLog();
  for (const event of EVENTS) traceLeaseEvent(log, event);
  const fields = records.map(({ msg, event, lease, revision, leases, invalid }) => [
    msg,
    event,
    lease ?? `${leases} and ${invalid}`,
    revision,
  ]);
  expect(fields).toEqual([
    ["leases received", "snapshot", "1 and 1", 70],
    ["lease event", "snapshot", "node-2", 2],
    ["lease event", "put", "node-3", 71],
    ["invalid lease received", "put", "broken", undefined],
    ["lease event", "delete", "node-3", undefined],
  ]);
  expect(records.every(({ level }) => level === "trace")).toBe(true);
});

test("traceLeaseEvent() does not even look at an event when the level is off", () => {
  const log = pino({ level: "debug" }, { write: () => expect.unreachable() });
  const untouchable = new Proxy({} as LeaseWatch, { get: () => expect.unreachable() });
  traceLeaseEvent(log, untouchable);
});
