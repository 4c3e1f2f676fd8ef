import { beforeEach, describe, expect, test } from "bun:test";
import type { EtcdWatch } from "../../../src/etcd/client/etcd.ts";
import { leaseEvents } from "../../../src/subnet/etcd/lease_events.ts";
import { LeaseRecords } from "../../../src/subnet/etcd/lease_records.ts";
import type { LeaseWatch } from "../../../src/subnet/lease.ts";
import { value } from "../../etcd/lease_store_fixture.ts";
import { collectingLog } from "../../support/collecting_log.ts";
import { FakeEtcd } from "../../support/fake_etcd.ts";

let records: LeaseRecords;

beforeEach(() => {
  records = new LeaseRecords(new FakeEtcd().client(), "/net", collectingLog().log);
});

function keyValue(name: string, text: string, revision: bigint) {
  const key = `/net/subnets/${name}`;
  return {
    key,
    value: text,
    lease: 0n,
    createRevision: revision,
    modRevision: revision,
    version: 1n,
  };
}

const VALID = keyValue("10.5.7.0-24", value("192.0.2.1"), 7n);
const INVALID = keyValue("10.5.8.0-24", "{", 8n);
const EVENTS: readonly EtcdWatch[] = [
  { kind: "snapshot", keyValues: [VALID, INVALID], revision: 9n },
  { kind: "put", keyValue: VALID },
  { kind: "put", keyValue: INVALID },
  { kind: "delete", key: VALID.key, modRevision: 10n },
];

/** An event in one line. */
function lineOf(event: LeaseWatch): string {
  switch (event.kind) {
    case "snapshot": {
      const keys = [...event.leases, ...event.invalid].map(({ key }) => key);
      return `snapshot at ${event.revision}: ${keys.join(", ")}`;
    }
    case "put":
      return `put ${event.lease.key}`;
    case "invalid":
      return `invalid ${event.invalid.key}`;
    case "delete":
      return `delete ${event.key}`;
  }
}

describe("leaseEvents()", () => {
  test("separates valid leases from invalid ones, and ends with its source", async () => {
    async function* source() {
      yield* EVENTS;
    }
    const lines: string[] = [];
    for await (const event of leaseEvents(source(), records)) lines.push(lineOf(event));
    expect(lines).toEqual([
      "snapshot at 9: 10.5.7.0-24, 10.5.8.0-24",
      "put 10.5.7.0-24",
      "invalid 10.5.8.0-24",
      "delete 10.5.7.0-24",
    ]);
  });

  test("ends its source when it is ended", async () => {
    let isEnded = false;
    async function* source() {
      try {
        yield* EVENTS;
      } finally {
        isEnded = true;
      }
    }
    const iterator = leaseEvents(source(), records)[Symbol.asyncIterator]();
    await iterator.next();
    expect(isEnded).toBe(false);
    expect(await iterator.return?.()).toStrictEqual({ done: true, value: undefined });
    expect(isEnded).toBe(true);
  });

  test("needs no source that can be ended", async () => {
    const source: AsyncIterable<EtcdWatch> = {
      [Symbol.asyncIterator]: () => ({
        next: () => Promise.resolve({ done: false, value: EVENTS[3] as EtcdWatch }),
      }),
    };
    for await (const event of leaseEvents(source, records)) {
      expect(lineOf(event)).toBe("delete 10.5.7.0-24");
      break;
    }
  });
});
