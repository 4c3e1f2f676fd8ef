/** Which responses of etcd can be true, and the operator's message for one that cannot. */

import { create, type MessageInitShape } from "@bufbuild/protobuf";
import { describe, expect, test } from "bun:test";
import {
  checkedRevision,
  checkEvent,
  checkGrant,
  checkLeaseId,
  checkRange,
  checkTimes,
  checkTransaction,
  checkTtl,
  hex,
  InvalidResponseError,
} from "../../../src/etcd/client/response_checks.ts";
import type { KeyRange, Transaction } from "../../../src/etcd/client/etcd.ts";
import { EventSchema } from "../../../src/etcd/api/kv_pb.ts";
import {
  LeaseGrantResponseSchema,
  LeaseTimeToLiveResponseSchema,
  RangeResponseSchema,
  ResponseHeaderSchema,
  type TxnResponse,
  TxnResponseSchema,
} from "../../../src/etcd/api/rpc_pb.ts";
import {
  type ScriptedKeyValue,
  scriptedKeyValue as keyValue,
} from "../../support/scripted_etcd.ts";

const utf8 = (text: string) => new TextEncoder().encode(text);

/** The fault of a response; `undefined` for one that can be true. */
function fault(check: () => unknown): string | undefined {
  try {
    check();
    return undefined;
  } catch (error) {
    expect(error).toBeInstanceOf(InvalidResponseError);
    expect((error as Error).name).toBe("InvalidResponseError");
    return (error as Error).message;
  }
}

describe("checkedRevision()", () => {
  const of = (revision: bigint) => checkedRevision(create(ResponseHeaderSchema, { revision }));

  test("is the store's revision, from the first one to the last that can be true", () => {
    expect(of(1n)).toBe(1n);
    expect(of(2n ** 62n - 1n)).toBe(2n ** 62n - 1n);
  });

  test("refuses what no store gets to, and an answer without a header", () => {
    for (const revision of [0n, -1n, 2n ** 62n, 2n ** 63n - 1n]) {
      expect(fault(() => of(revision))).toBe(
        `etcd's response has the invalid revision ${revision}`,
      );
    }
    expect(fault(() => checkedRevision(undefined))).toBe("etcd's response has no header");
  });
});

/** The fault of a response of a store at revision 10. */
function rangeFault(
  request: KeyRange,
  kvs: ScriptedKeyValue[],
  more: { more?: boolean; count?: bigint } = {},
): string | undefined {
  const header = { revision: 10n };
  return fault(() => checkRange(create(RangeResponseSchema, { header, kvs, ...more }), request));
}

describe("checkRange()", () => {
  const a = keyValue("/net/a", { modRevision: 3n });
  const b = keyValue("/net/b", { createRevision: 1n, modRevision: 10n });
  const everything = { key: "/net/", prefix: true };

  test("takes one key, or none, and all keys of a prefix", () => {
    expect(rangeFault({ key: "/net/a" }, [a], { count: 1n })).toBeUndefined();
    expect(rangeFault({ key: "/net/a" }, [])).toBeUndefined();
    expect(rangeFault(everything, [a, b], { count: 2n })).toBeUndefined();
    expect(rangeFault({ key: "/net/a", prefix: true }, [a])).toBeUndefined();
    expect(rangeFault({ key: "", prefix: true }, [a, b])).toBeUndefined();
  });

  test("refuses an answer that is cut off", () => {
    expect(rangeFault(everything, [a, b], { count: 3n })).toBe(
      "etcd's response is incomplete: 2 of 3 keys",
    );
    expect(rangeFault(everything, [a, b], { more: true, count: 2n })).toBe(
      "etcd's response is incomplete: 2 of 2 keys",
    );
  });

  test("refuses keys that were not asked for", () => {
    const text = (key: string) => `etcd returned the key "${key}", which was not requested`;
    expect(rangeFault({ key: "/net/a" }, [b])).toBe(text("/net/b"));
    expect(rangeFault({ key: "/net/" }, [a])).toBe(text("/net/a"));
    expect(rangeFault(everything, [a, keyValue("/other", { modRevision: 3n })])).toBe(
      text("/other"),
    );
    // Shorter than the prefix.
    expect(rangeFault(everything, [keyValue("/net", { modRevision: 3n })])).toBe(text("/net"));
  });

  test("refuses several values of one key", () => {
    expect(rangeFault({ key: "/net/a" }, [a, a])).toBe('etcd returned 2 values for "/net/a"');
  });

  test.each([[0n, 3n], [4n, 3n], [3n, 11n]])(
    "refuses a key that was created at %d and changed at %d, with the store at 10",
    (createRevision, modRevision) => {
      expect(rangeFault(everything, [keyValue("/net/a", { createRevision, modRevision })])).toBe(
        `etcd's response has invalid revisions: "/net/a" was created at ${createRevision} ` +
          `and changed at ${modRevision}, and the store is at 10`,
      );
    },
  );

  test("shows only the beginning of a long key", () => {
    const long = rangeFault({ key: "a" }, [keyValue("x".repeat(100_000), { modRevision: 3n })]);
    expect(long).toContain(`"${"x".repeat(190)}`);
    expect(long?.length).toBeLessThan(300);
    const wide = rangeFault({ key: "a" }, [keyValue("\u{1f600}".repeat(150), { modRevision: 3n })]);
    expect(wide).not.toContain("\ufffd");
  });
});

describe("checkTransaction()", () => {
  const transaction: Transaction = {
    compare: [],
    success: [
      { put: { key: "/net/a", value: "" } },
      { delete: { key: "/net/b" } },
      { range: { key: "/net/c" } },
    ],
    failure: [{ range: { key: "/net/a" } }],
  };
  const put = { response: { case: "responsePut" as const, value: {} } };
  const deleted = { response: { case: "responseDeleteRange" as const, value: {} } };
  const range = (...kvs: ScriptedKeyValue[]) => ({
    response: { case: "responseRange" as const, value: { kvs } },
  });
  const header = { revision: 10n };
  type Answer = Exclude<MessageInitShape<typeof TxnResponseSchema>, TxnResponse>;

  function faultOf(answer: Answer, asked = transaction): string | undefined {
    const response = create(TxnResponseSchema, { header, ...answer });
    return fault(() => checkTransaction(response, asked));
  }

  test("takes a result for each operation of the branch that was taken", () => {
    const c = keyValue("/net/c", { modRevision: 3n });
    expect(faultOf({ succeeded: true, responses: [put, deleted, range(c)] })).toBeUndefined();
    const a = keyValue("/net/a", { modRevision: 3n });
    expect(faultOf({ succeeded: false, responses: [range(a)] })).toBeUndefined();
    const without = { compare: [], success: transaction.success };
    expect(faultOf({ succeeded: false, responses: [] }, without)).toBeUndefined();
  });

  test("refuses an invalid revision", () => {
    expect(faultOf({ header: { revision: 0n }, responses: [range()] })).toContain("revision 0");
  });

  test("refuses another number of results", () => {
    expect(faultOf({ succeeded: true, responses: [put] })).toBe(
      "etcd's response has 1 results for 3 operations",
    );
    expect(faultOf({ succeeded: false, responses: [put, put] })).toBe(
      "etcd's response has 2 results for 1 operations",
    );
    const without = { compare: [], success: [] };
    expect(faultOf({ responses: [put] }, without)).toContain("1 results for 0 operations");
  });

  test("refuses results of another kind, in whatever place", () => {
    const of = (...responses: NonNullable<Answer["responses"]>) =>
      faultOf({ succeeded: true, responses });
    expect(of(deleted, deleted, range())).toBe("etcd's response has a responseDeleteRange for put");
    expect(of(put, put, range())).toBe("etcd's response has a responsePut for delete");
    expect(of(put, range(), range())).toBe("etcd's response has a responseRange for delete");
    expect(of(put, deleted, put)).toBe("etcd's response has a responsePut for range");
    expect(of(put, deleted, {})).toBe("etcd's response has a undefined for range");
  });

  test("refuses keys that were not asked for, and revisions beyond the store's", () => {
    const responses = (kv: ScriptedKeyValue) => [put, deleted, range(kv)];
    const other = keyValue("/net/d", { modRevision: 3n });
    expect(faultOf({ succeeded: true, responses: responses(other) })).toContain(
      '"/net/d", which was not requested',
    );
    const late = keyValue("/net/c", { modRevision: 11n });
    expect(faultOf({ succeeded: true, responses: responses(late) })).toContain(
      "and changed at 11, and the store is at 10",
    );
  });
});

describe("checkEvent()", () => {
  const position = { prefix: utf8("/net/"), next: 8n, revision: 10n };
  const of = (kv: ScriptedKeyValue | undefined) =>
    fault(() => checkEvent(create(EventSchema, kv === undefined ? {} : { kv }), position));

  test("takes what is new and not beyond the store's revision", () => {
    expect(of(keyValue("/net/a", { modRevision: 8n }))).toBeUndefined();
    expect(of(keyValue("/net/a", { modRevision: 10n }))).toBeUndefined();
    expect(of(keyValue("/net/a", { createRevision: 2n, modRevision: 9n }))).toBeUndefined();
    // The event of a deletion has no revision of the creation.
    expect(of(keyValue("/net/a", { createRevision: 0n, modRevision: 9n }))).toBeUndefined();
    const kv = keyValue("/net/a", { modRevision: 9n });
    expect(checkEvent(create(EventSchema, { kv }), position)).toMatchObject(kv);
  });

  test("refuses what cannot be true", () => {
    expect(of(undefined)).toBe("etcd sent an event without a key");
    expect(of(keyValue("/other", { modRevision: 9n }))).toBe(
      'etcd sent an event of "/other", which is not watched',
    );
    expect(of(keyValue("/net/a", { modRevision: 7n }))).toBe(
      'etcd sent an event of "/net/a" at revision 7 after one at 7',
    );
    expect(of(keyValue("/net/a", { createRevision: 4n, modRevision: 11n }))).toBe(
      'etcd sent an event of "/net/a" at the invalid revision 11: ' +
        "it was created at 4, and the store is at 10",
    );
    expect(of(keyValue("/net/a", { createRevision: 10n, modRevision: 9n }))).toContain(
      "at the invalid revision 9: it was created at 10",
    );
  });
});

describe("of a lease", () => {
  test("a grant has an id, the one that was asked for if any, and a time", () => {
    const of = (granted: { ID?: bigint; TTL?: bigint; error?: string }, id = 0n) =>
      fault(() => checkGrant(create(LeaseGrantResponseSchema, granted), id));
    expect(of({ ID: 7n, TTL: 60n })).toBeUndefined();
    expect(of({ ID: 7n, TTL: 1n }, 7n)).toBeUndefined();
    expect(of({ ID: 7n, TTL: 60n, error: "no \x1b room" })).toBe(
      'etcd granted no lease: "no \\u001b room"',
    );
    expect(of({ ID: 0n, TTL: 60n })).toBe("etcd granted the lease 0 instead of 0");
    expect(of({ ID: 7n, TTL: 60n }, 0xabn)).toBe("etcd granted the lease 7 instead of ab");
    expect(of({ ID: 7n, TTL: 0n })).toBe("etcd granted the lease 7 for 0 s");
    expect(of({ ID: 7n, TTL: 9_000_000_001n })).toContain("invalid time to live 9000000001 s");
  });

  test("a time to live is at most the longest that etcd grants", () => {
    for (const seconds of [-5n, 0n, 9_000_000_000n]) {
      expect(fault(() => checkTtl(seconds))).toBeUndefined();
    }
    expect(fault(() => checkTtl(9_000_000_001n))).toBe(
      "etcd's response has the invalid time to live 9000000001 s",
    );
  });

  test("the times are what is left and what was granted, unless it is gone", () => {
    const of = (TTL: bigint, grantedTTL: bigint) =>
      fault(() => checkTimes(create(LeaseTimeToLiveResponseSchema, { TTL, grantedTTL })));
    expect(of(50n, 60n)).toBeUndefined();
    expect(of(0n, 1n)).toBeUndefined();
    expect(of(-1n, 0n)).toBeUndefined();
    expect(of(0n, 0n)).toBe("etcd's response has a lease that was granted for 0 s");
    expect(of(50n, -1n)).toBe("etcd's response has a lease that was granted for -1 s");
    expect(of(9_000_000_001n, 60n)).toContain("invalid time to live 9000000001 s");
    expect(of(60n, 9_000_000_001n)).toContain("invalid time to live 9000000001 s");
  });

  test("an answer is about the one that was asked about", () => {
    expect(fault(() => checkLeaseId(7n, 7n))).toBeUndefined();
    expect(fault(() => checkLeaseId(0xabn, 7n))).toBe(
      "etcd responded for lease ab instead of 7",
    );
  });

  test("an id is shown as etcdctl shows it, without a sign", () => {
    expect(hex(0x694d7c2e5n)).toBe("694d7c2e5");
    expect(hex(-1n)).toBe("ffffffffffffffff");
  });
});
