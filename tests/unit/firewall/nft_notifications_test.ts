import { expect, test } from "bun:test";
import fc from "fast-check";
import { MessageReader } from "../../../src/kernel/wire/message_reader.ts";
import { decodeNftNotification } from "../../../src/firewall/nftables/nft_notifications.ts";
import type { NftChange } from "../../../src/firewall/rules/rule_target.ts";

const NFPROTO = { inet: 1, ipv4: 2, ipv6: 10 };
const MESSAGE = { newTable: 0, delTable: 2, newChain: 3, newRule: 6, delRule: 8, newElement: 12 };

/** A message of the kernel. Each name is an attribute: its type and its value. */
function message(
  { type, family, names }: { type: number; family: number; names: [number, string][] },
): Uint8Array {
  const attributes = names.map(([attribute, name]) => {
    const bytes = new Uint8Array((4 + name.length + 1 + 3) & ~3);
    const view = new DataView(bytes.buffer);
    view.setUint16(0, 4 + name.length + 1, true);
    view.setUint16(2, attribute, true);
    bytes.set(new TextEncoder().encode(name), 4);
    return bytes;
  });
  const bytes = Buffer.concat([new Uint8Array(20), ...attributes]);
  bytes.writeUInt32LE(bytes.length, 0); // nlmsg_len
  bytes.writeUInt16LE(10 << 8 | type, 4); // nlmsg_type
  bytes[16] = family; // nfgen_family
  return bytes;
}

function decode(bytes: Uint8Array): (NftChange | undefined)[] {
  const reader = new MessageReader(bytes);
  reader.reset(bytes.length);
  const changes = [];
  while (reader.next()) changes.push(decodeNftNotification(reader));
  return changes;
}

test("rules, chains and tables are decoded with family and names, several in one datagram", () => {
  const datagram = Buffer.concat([
    message({ type: MESSAGE.newRule, family: NFPROTO.ipv4, names: [[1, "nat"], [2, "KUBE-X"]] }),
    message({
      type: MESSAGE.delRule,
      family: NFPROTO.ipv6,
      names: [[1, "filter"], [2, "FORWARD"]],
    }),
    message({ type: MESSAGE.newChain, family: NFPROTO.ipv4, names: [[1, "nat"], [3, "OUTPUT"]] }),
    message({ type: MESSAGE.delTable, family: NFPROTO.ipv4, names: [[1, "flannel-ipv4"]] }),
    message({ type: MESSAGE.newTable, family: NFPROTO.inet, names: [[1, "firewalld"]] }),
  ]);
  expect(decode(datagram)).toEqual([
    { family: 4, table: "nat", chain: "KUBE-X", isRule: true, isDeleted: false },
    { family: 6, table: "filter", chain: "FORWARD", isRule: true, isDeleted: true },
    { family: 4, table: "nat", chain: "OUTPUT", isRule: false, isDeleted: false },
    { family: 4, table: "flannel-ipv4", isRule: false, isDeleted: true },
    { family: undefined, table: "firewalld", isRule: false, isDeleted: false },
  ]);
});

test("set elements and other messages are ignored", () => {
  const names: [number, string][] = [[1, "kube-proxy"], [2, "services"]];
  expect(decode(message({ type: MESSAGE.newElement, family: NFPROTO.ipv4, names })))
    .toEqual([undefined]);
});

test("garbage never throws", () => {
  fc.assert(fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => void decode(bytes)));
  const whole = message({
    type: MESSAGE.newRule,
    family: NFPROTO.ipv4,
    names: [[1, "nat"], [2, "X"]],
  });
  fc.assert(fc.property(fc.nat(whole.length - 1), fc.nat(255), (at, value) => {
    const damaged = whole.slice();
    damaged[at] = value;
    decode(damaged);
  }));
});
