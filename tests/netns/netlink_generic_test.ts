/** Generic netlink with the real kernel, and the family that every kernel has. */

import { expect, test } from "bun:test";
import * as k from "../../ffi/linux.ts";
import { openFamily } from "../../src/kernel/wire/generic_netlink.ts";
import { Attributes } from "../../src/kernel/wire/message_reader.ts";

/** The control family, which lists all families. */
const CONTROLLER = { name: "nlctrl", version: 2 };

test("a family is found by name, and its table is dumped", () => {
  using family = openFamily(CONTROLLER);
  const found = new Map<string, number>();
  const attributes = new Attributes();
  const outcome = family?.dump(k.CTRL_CMD_GETFAMILY, () => {}, (message, attributesAt) => {
    attributes.read(message, attributesAt, message.end);
    const name = attributes.text(k.CTRL_ATTR_FAMILY_NAME) ?? "";
    found.set(name, attributes.u16(k.CTRL_ATTR_FAMILY_ID) ?? 0);
  });
  expect(outcome).toBe("complete");
  expect(found.get("nlctrl")).toBe(k.GENL_ID_CTRL);
});

test("a family that the kernel does not have is undefined", () => {
  expect(openFamily({ name: "no-such-family", version: 1 })).toBeUndefined();
});

test("a refusal carries its number, an accepted command carries none", () => {
  using family = openFamily(CONTROLLER);
  const ask = (name: string) =>
    family?.command(
      k.CTRL_CMD_GETFAMILY,
      (attributes) => attributes.text(k.CTRL_ATTR_FAMILY_NAME, name),
    );
  expect(ask("no-such-family")?.errno).toBe(2); // ENOENT
  expect(ask("nlctrl")).toBeUndefined();
});

test("a message without room is not sent", () => {
  using family = openFamily(CONTROLLER);
  const write = () =>
    family?.command(
      k.CTRL_CMD_GETFAMILY,
      (attributes) => attributes.bytes(k.CTRL_ATTR_FAMILY_NAME, new Uint8Array(2000)),
    );
  expect(write).toThrow(RangeError);
});
