/** What charon, or what has its socket, says. */

import {
  decodeMessage,
  encodeMessage,
  ViciFormatError,
} from "../../../src/backend/ipsec/vici_message.ts";
import {
  CMD_RESPONSE,
  encodePacket,
  EVENT,
  PacketReader,
} from "../../../src/backend/ipsec/vici_packet.ts";
import { equal } from "../equal.ts";
import type { FuzzTarget } from "../fuzz.ts";

const MESSAGE = {
  flannel: { version: "2", remote_addrs: ["192.0.2.1"], children: { net: { mode: "TUNNEL" } } },
  success: "yes",
};

const viciMessage: FuzzTarget = {
  name: "vici-message",
  seeds: [encodeMessage(MESSAGE)],
  maxBytes: 65_536,
  refusals: [ViciFormatError],
  run(input) {
    const message = decodeMessage(input);
    equal(decodeMessage(encodeMessage(message)), message);
  },
};

const viciPacket: FuzzTarget = {
  name: "vici-packet",
  seeds: [
    encodePacket(CMD_RESPONSE, "", MESSAGE),
    Buffer.concat([encodePacket(EVENT, "log", { group: "IKE" }), encodePacket(CMD_RESPONSE, "")]),
  ],
  refusals: [ViciFormatError],
  /** The first byte decides how the stream is cut. */
  run(input) {
    const size = 1 + (input[0] ?? 0) % 64;
    const whole = new PacketReader().push(input);
    const reader = new PacketReader();
    const packets = [];
    for (let at = 0; at < input.length; at += size) {
      packets.push(...reader.push(input.subarray(at, at + size)));
    }
    equal(packets, whole);
  },
};

export const VICI_TARGETS: readonly FuzzTarget[] = [viciMessage, viciPacket];
