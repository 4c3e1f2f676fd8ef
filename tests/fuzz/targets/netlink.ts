/** Messages of the kernel, or of another sender to a netlink socket. */

import * as k from "../../../ffi/linux.ts";
import type { IpAddress } from "../../../src/addr/ip.ts";
import { parseMacAddress } from "../../../src/addr/mac.ts";
import { makePrefix } from "../../../src/addr/prefix.ts";
import { decodeLookup } from "../../../src/kernel/rtnetlink/route_lookup.ts";
import type { RtnetlinkEntry } from "../../../src/kernel/rtnetlink/entry_codec.ts";
import { ENTRY_CODECS } from "../../../src/kernel/rtnetlink/entry_codecs.ts";
import { completeLink, decodeLink } from "../../../src/kernel/rtnetlink/link_decoder.ts";
import { RtnetlinkEncoder } from "../../../src/kernel/rtnetlink/rtnetlink_encoder.ts";
import { decodeNexthop, nexthopIdOf } from "../../../src/kernel/nexthop/nexthop_decoder.ts";
import { decodeFouPort } from "../../../src/kernel/fou_ports.ts";
import { MessageReader } from "../../../src/kernel/wire/message_reader.ts";
import { DeviceDecoder } from "../../../src/kernel/wireguard/kernel_codec.ts";
import { decodePolicy } from "../../../src/kernel/xfrm/xfrm_decoder.ts";
import { decodeNftNotification } from "../../../src/firewall/nftables/nft_notifications.ts";
import type { Resource } from "../../../src/state/resource.ts";
import { resourceKey } from "../../../src/state/resource_key.ts";
import { sameResource } from "../../../src/state/same_resource.ts";
import { equal } from "../equal.ts";
import type { FuzzTarget } from "../fuzz.ts";

const NAMES = new Map([[7, "flannel.1"]]);

/** Every decoder, whatever the message says it is; what comes out has a key and is as itself. */
function decodeAll(message: MessageReader): void {
  const link = decodeLink(message);
  const decoded: (Resource | undefined)[] = [
    link && completeLink(link, NAMES),
    ...ENTRY_CODECS.map((codec) => codec.decode(message, NAMES)),
    decodePolicy(message),
    decodeFouPort(message, Math.min(message.start + 4, message.end)),
  ];
  for (const resource of decoded) {
    if (resource === undefined) continue;
    equal(typeof resourceKey(resource), "string");
    equal(sameResource(resource, resource), true);
  }
  for (const codec of ENTRY_CODECS) {
    codec.isIgnored(message);
    codec.ifindexOf(message);
  }
  decodeNexthop(message);
  nexthopIdOf(message);
  decodeLookup(message);
  decodeNftNotification(message);
}

const ADDRESS = "10.5.2.0" as IpAddress;
const ADDRESS6 = "fc00:0:0:2::" as IpAddress;
const MAC = parseMacAddress("02:00:00:00:00:01");
if (MAC === undefined) throw new Error("no MAC address");

const ENTRIES: readonly RtnetlinkEntry[] = [
  { kind: "neighbour", link: "flannel.1", address: ADDRESS, mac: MAC },
  { kind: "fdb", link: "flannel.1", mac: MAC, remote: ADDRESS6 },
  { kind: "address", link: "flannel.1", address: ADDRESS, prefixLength: 32 },
  {
    kind: "route",
    destination: makePrefix(ADDRESS6, 64),
    link: "flannel.1",
    gateway: ADDRESS6,
    onlink: true,
    scope: "global",
    type: "unicast",
    protocol: 70,
    metric: 0,
  } as unknown as RtnetlinkEntry,
];

/** Our own messages, and headers of each kind without a body. */
function seeds(): Uint8Array[] {
  using encoder = new RtnetlinkEncoder();
  const sound: Uint8Array[] = [];
  for (const entry of ENTRIES) {
    encoder.clear();
    encoder.entry("set", entry, 7);
    sound.push(encoder.bytes.slice());
  }
  const types = [
    ...[k.RTM_NEWLINK, k.RTM_NEWADDR, k.RTM_NEWNEIGH, k.RTM_NEWROUTE, k.NLMSG_ERROR, k.NLMSG_DONE],
    ...[k.XFRM_MSG_NEWPOLICY, k.XFRM_MSG_UPDPOLICY, 10 << 8 | 6, 10 << 8 | 3],
  ];
  const empty = types.map((type) => {
    const message = new Uint8Array(160);
    const view = new DataView(message.buffer);
    view.setUint32(k.nlmsghdr.nlmsg_len, message.length, true);
    view.setUint16(k.nlmsghdr.nlmsg_type, type, true);
    view.setUint16(60, 100, true);
    return message;
  });
  return [...sound, ...empty, Buffer.concat(sound)];
}

const netlink: FuzzTarget = {
  name: "netlink",
  seeds: seeds(),
  run(input) {
    const message = new MessageReader(input);
    message.reset(input.length);
    while (message.next()) {
      equal(message.end <= input.length, true);
      decodeAll(message);
    }
  },
};

/** A device with a peer: attributes as linux/wireguard.h numbers them. */
function deviceMessage(): Uint8Array {
  const attribute = (type: number, ...parts: readonly Uint8Array[]) => {
    const body = Buffer.concat(parts);
    const padded = Buffer.alloc(4 + (body.length + 3 & ~3));
    padded.writeUInt16LE(4 + body.length, 0);
    padded.writeUInt16LE(type, 2);
    body.copy(padded, 4);
    return padded;
  };
  const bytes = (...values: readonly number[]) => Uint8Array.from(values);
  const allowed = attribute(
    0,
    attribute(k.WGALLOWEDIP_A_FAMILY, bytes(2, 0)),
    attribute(k.WGALLOWEDIP_A_IPADDR, bytes(10, 5, 2, 0)),
    attribute(k.WGALLOWEDIP_A_CIDR_MASK, bytes(24)),
  );
  const peer = attribute(
    0,
    attribute(k.WGPEER_A_PUBLIC_KEY, new Uint8Array(32).fill(7)),
    attribute(k.WGPEER_A_ENDPOINT, bytes(2, 0, 0x20, 0xfb, 192, 0, 2, 1, 0, 0, 0, 0, 0, 0, 0, 0)),
    attribute(k.WGPEER_A_LAST_HANDSHAKE_TIME, new Uint8Array(16).fill(1)),
    attribute(k.WGPEER_A_ALLOWEDIPS, allowed),
  );
  return Buffer.concat([
    attribute(k.WGDEVICE_A_IFINDEX, bytes(7, 0, 0, 0)),
    attribute(k.WGDEVICE_A_LISTEN_PORT, bytes(0x6c, 0xca)),
    attribute(k.WGDEVICE_A_PRIVATE_KEY, new Uint8Array(32).fill(9)),
    attribute(k.WGDEVICE_A_PEERS, peer),
  ]);
}

const wireguardNetlink: FuzzTarget = {
  name: "netlink-wireguard",
  seeds: [deviceMessage()],
  run(attributes) {
    const header = Buffer.alloc(k.nlmsghdr.size + k.genlmsghdr.size);
    header.writeUInt32LE(header.length + attributes.length, k.nlmsghdr.nlmsg_len);
    const message = new MessageReader(Buffer.concat([header, attributes]));
    message.reset(message.bytes.length);
    equal(message.next(), true);
    const decoder = new DeviceDecoder();
    decoder.add(message, message.start + k.genlmsghdr.size);
    for (const { publicKey, allowedIps } of decoder.result?.peers ?? []) {
      equal(publicKey.length, 44);
      for (const prefix of allowedIps) equal(/^[\da-f.:]+\/\d+$/.test(prefix), true);
    }
  },
};

export const NETLINK_TARGETS: readonly FuzzTarget[] = [netlink, wireguardNetlink];
