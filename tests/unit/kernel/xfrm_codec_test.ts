import { afterAll, expect, test } from "bun:test";
import fc from "fast-check";
import * as k from "../../../ffi/linux.ts";
import { addressFromBytes, type IpAddress } from "../../../src/addr/ip.ts";
import { makePrefix } from "../../../src/addr/prefix.ts";
import { MessageReader } from "../../../src/kernel/wire/message_reader.ts";
import { decodePolicy } from "../../../src/kernel/xfrm/xfrm_decoder.ts";
import { XfrmEncoder } from "../../../src/kernel/xfrm/xfrm_encoder.ts";
import type { XfrmPolicy } from "../../../src/state/resource.ts";

const encoder = new XfrmEncoder();
afterAll(() => encoder[Symbol.dispose]());

const policyOf = (bytes: 4 | 16): fc.Arbitrary<XfrmPolicy> => {
  const address: fc.Arbitrary<IpAddress> = fc.uint8Array({ minLength: bytes, maxLength: bytes })
    .map(addressFromBytes);
  const prefix = fc.tuple(address, fc.integer({ min: 0, max: bytes * 8 }))
    .map(([address, length]) => makePrefix(address, length));
  const tunnel = fc.record({
    source: address,
    destination: address,
    reqid: fc.integer({ min: 0, max: 0xffff_ffff }),
  });
  return fc.record({
    kind: fc.constant("xfrm-policy"),
    direction: fc.constantFrom("in", "out", "fwd"),
    source: prefix,
    destination: prefix,
    tunnel,
  });
};
const policy = fc.oneof(policyOf(4), policyOf(16));

/** The first message of these bytes. */
function messageOf(bytes: Uint8Array): MessageReader {
  const reader = new MessageReader(bytes);
  reader.reset(bytes.length);
  expect(reader.next()).toBe(true);
  return reader;
}

test("a policy reads back from its creation and its replacement", () => {
  const types = { create: k.XFRM_MSG_NEWPOLICY, set: k.XFRM_MSG_UPDPOLICY } as const;
  fc.assert(
    fc.property(policy, fc.constantFrom("create", "set"), (policy, operation) => {
      encoder.clear();
      encoder.policy(operation, policy);
      const message = messageOf(encoder.bytes);
      expect(message.type).toBe(types[operation]);
      expect(message.flags & k.NLM_F_EXCL).toBe(operation === "create" ? k.NLM_F_EXCL : 0);
      expect(decodePolicy(message)).toEqual(policy);
    }),
    { numRuns: 2000 },
  );
});

test("a deletion contains only direction and addresses", () => {
  encoder.clear();
  const [one] = fc.sample(policyOf(4), 1) as [XfrmPolicy];
  encoder.policy("delete", one);
  const message = messageOf(encoder.bytes);
  expect(message.type).toBe(k.XFRM_MSG_DELPOLICY);
  expect(message.end - message.start).toBe(k.xfrm_userpolicy_id.size);
});

test("a policy without a tunnel is an error, and leaves nothing in the batch", () => {
  encoder.clear();
  const { tunnel: _, ...plain } = fc.sample(policyOf(4), 1)[0] as XfrmPolicy;
  expect(() => encoder.policy("set", plain)).toThrow("a policy without a tunnel");
  expect(encoder.count).toBe(0);
});

test("the ends of a tunnel are of the policy's family", () => {
  const [ipv4, ipv6] = [fc.sample(policyOf(4), 1)[0], fc.sample(policyOf(16), 1)[0]];
  const mixed = { ...ipv4, tunnel: ipv6?.tunnel } as XfrmPolicy;
  expect(() => encoder.policy("set", mixed)).toThrow("has another address family");
});

test("a message with any bytes is read without an error", () => {
  const types = [k.XFRM_MSG_NEWPOLICY, k.XFRM_MSG_UPDPOLICY, k.XFRM_MSG_DELPOLICY];
  const damage = fc.array(fc.tuple(fc.nat(), fc.integer({ min: 0, max: 255 })), { maxLength: 8 });
  let decoded = 0;
  fc.assert(
    fc.property(
      policy,
      fc.constantFrom(...types),
      damage,
      fc.integer({ min: 16, max: 300 }),
      (policy, type, damage, length) => {
        encoder.clear();
        encoder.policy("set", policy);
        const bytes = encoder.bytes.slice(0, length);
        for (const [at, value] of damage) bytes[16 + at % (bytes.length - 16 || 1)] = value;
        const view = new DataView(bytes.buffer);
        view.setUint32(k.nlmsghdr.nlmsg_len, bytes.length, true);
        view.setUint16(k.nlmsghdr.nlmsg_type, type, true);
        const reader = new MessageReader(bytes);
        reader.reset(bytes.length);
        if (reader.next() && decodePolicy(reader) !== undefined) decoded++;
      },
    ),
    { numRuns: 100_000 },
  );
  expect(decoded).toBeGreaterThan(1000);
}, 180_000);
