/** Messages of charon, or of another program that has its socket. */

import { connectionOf } from "../../../src/backend/ipsec/charon_connection.ts";
import { IkeSession } from "../../../src/backend/ipsec/ike_session.ts";
import { RedundantAssociations } from "../../../src/backend/ipsec/redundant_associations.ts";
import type { Vici } from "../../../src/backend/ipsec/vici.ts";
import {
  decodeMessage,
  encodeMessage,
  ViciFormatError,
  type ViciItem,
  type ViciMessage,
} from "../../../src/backend/ipsec/vici_message.ts";
import {
  CMD_RESPONSE,
  encodePacket,
  EVENT,
  PacketReader,
} from "../../../src/backend/ipsec/vici_packet.ts";
import { systemClock } from "../../../src/base/clock.ts";
import { ip, prefix } from "../../support/sample_network.ts";
import { equal } from "../equal.ts";
import type { FuzzTarget } from "../fuzz.ts";

const MESSAGE = {
  flannel: { version: "2", remote_addrs: ["192.0.2.1"], children: { net: { mode: "TUNNEL" } } },
  success: "yes",
};

const viciMessage: FuzzTarget = {
  name: "vici-message",
  seeds: [encodeMessage(MESSAGE)],
  maxBytes: 8192,
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

const NETWORK = prefix("10.5.0.0/16");
const own = ip("192.168.0.1");
const connection = connectionOf(
  { publicAddress: own, localAddress: own, subnet: prefix("10.5.1.0/24") },
  { publicAddress: ip("192.168.0.2"), subnet: prefix("10.5.2.0/24") },
  { network: NETWORK, psk: "secret", udpEncapsulation: false, espProposal: "aes" },
);

/** The response to `list-sas`: our connections, from charon or an impostor. */
const viciAssociations: FuzzTarget = {
  name: "vici-associations",
  isJson: true,
  seeds: [JSON.stringify({
    [connection.name]: {
      uniqueid: "1",
      state: "ESTABLISHED",
      initiator: "yes",
      "local-host": "192.168.0.1",
      "remote-host": "192.168.0.2",
      "initiator-spi": "00000000000000a1",
      "responder-spi": "0".repeat(16),
      "child-sas": {
        "net-1": {
          state: "INSTALLED",
          "install-time": "40",
          "packets-in": "7",
          uniqueid: "2",
          "spi-in": "c0000001",
          "spi-out": "c0000002",
        },
      },
    },
    conns: [connection.name],
  })],
  refusals: [SyntaxError],
  async run(input) {
    const message = viciItem(JSON.parse(new TextDecoder().decode(input)), 0);
    if (typeof message === "string" || Array.isArray(message)) return;
    const list = () => Promise.resolve([message as ViciMessage]);
    const session = new IkeSession({ list } as unknown as Vici, NETWORK);
    const spare = new RedundantAssociations(systemClock);
    for (const tunnel of (await session.tunnels()).values()) {
      spare.find([tunnel]);
      for (const { uniqueId, settledChildren } of tunnel.associations) {
        equal(typeof uniqueId, "string");
        for (const { states } of settledChildren) {
          for (const { spi } of states) equal(spi <= 0xffffffff, true);
        }
      }
    }
  },
};

/** JSON as a message has it: text, lists of texts, and sections without a prototype. */
function viciItem(value: unknown, depth: number): ViciItem {
  if (typeof value !== "object" || value === null || depth > 90) return String(value as string);
  if (Array.isArray(value)) return value.map((item) => JSON.stringify(item) ?? "");
  const section = Object.create(null) as Record<string, ViciItem>;
  for (const [name, item] of Object.entries(value)) section[name] = viciItem(item, depth + 1);
  return section;
}

export const VICI_TARGETS: readonly FuzzTarget[] = [viciMessage, viciPacket, viciAssociations];
