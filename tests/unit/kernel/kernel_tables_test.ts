/** Every kind of entry is registered on the kernel side. */

import { expect, test } from "bun:test";
import { TABLE_BY_KIND } from "../../../src/kernel/kernel_tables.ts";
import {
  codecOfKind,
  codecOfMessage,
  ENTRY_CODECS,
  RTNETLINK_KINDS,
} from "../../../src/kernel/rtnetlink/entry_codecs.ts";
import { RESOURCE_KINDS } from "../../../src/state/resource.ts";

test("each kind of entry has one kernel table, or one codec of rtnetlink", () => {
  const tableKinds = Object.keys(TABLE_BY_KIND);
  // Devices are written one at a time, see link_steps.ts.
  const registered = [...RTNETLINK_KINDS, ...tableKinds, "link"].sort();
  expect(registered).toEqual(Object.keys(RESOURCE_KINDS).sort());
});

test("a codec is found by the kinds of its entries and by the types of its messages", () => {
  for (const codec of ENTRY_CODECS) {
    for (const kind of codec.kinds) expect(codecOfKind(kind)).toBe(codec);
    expect(codecOfMessage(codec.newType)).toBe(codec);
    expect(codecOfMessage(codec.deleteType)).toBe(codec);
  }
  expect(codecOfMessage(0)).toBeUndefined();
  expect(codecOfMessage(65_535)).toBeUndefined();
});
