/** Reads the devices of this network namespace with their addresses and address flags. */

import * as k from "../../ffi/linux.ts";
import type { IpAddress } from "../addr/ip.ts";
import type { Clock } from "../base/clock.ts";
import { ADDRESS_CODEC } from "./rtnetlink/address_codec.ts";
import { decodeLink } from "./rtnetlink/link_decoder.ts";
import { dumpLinks } from "./rtnetlink/link_messages.ts";
import { Channel } from "./wire/channel.ts";
import { type DumpAttempt, retryInterruptedDump } from "./wire/interrupted_dump.ts";
import { MessageBatch } from "./wire/message_batch.ts";
import { Attributes, type MessageReader } from "./wire/message_reader.ts";
import { NetlinkSocket } from "./wire/netlink_socket.ts";

export interface HostDevice {
  readonly name: string;
  readonly altNames: readonly string[];
  readonly ifindex: number;
  readonly mtuBytes: number;
  /** IFF_UP. */
  readonly up: boolean;
  readonly addresses: readonly HostDeviceAddress[];
}

export interface HostDeviceAddress {
  readonly address: IpAddress;
  readonly prefixLength: number;
  /** IFA_LABEL, unless it is the device's name. */
  readonly label?: string;
  /** IFA_F_* of linux/if_addr.h. */
  readonly flags: number;
}

/**
 * Reads all devices in the order of their indexes, and their addresses in the kernel's order.
 * Throws `KernelError`, and `DumpInterruptedError` if the tables change during every attempt.
 */
export async function readHostDevices(clock: Clock): Promise<HostDevice[]> {
  using socket = new NetlinkSocket();
  const channel = new Channel(socket, new MessageBatch());
  return await retryInterruptedDump(clock, () => readOnce(channel));
}

function readOnce(channel: Channel<MessageBatch>): DumpAttempt<HostDevice[]> {
  const devices = new Map<string, HostDevice & { addresses: HostDeviceAddress[] }>();
  const names = new Map<number, string>();
  const links = channel.readTable(dumpLinks, (message) => {
    const decoded = decodeLink(message);
    if (decoded === undefined) return;
    const { ifindex, link: { name, mtuBytes, up } } = decoded;
    names.set(ifindex, name);
    const altNames = altNamesIn(message);
    devices.set(name, { name, altNames, ifindex, mtuBytes, up, addresses: [] });
  });
  const dumpAddresses = (batch: MessageBatch) =>
    ADDRESS_CODEC.dump(batch, { kind: "address", family: 0, ifindex: 0 });
  const addresses = channel.readTable(dumpAddresses, (message) => {
    const decoded = ADDRESS_CODEC.decode(message, names);
    if (decoded === undefined) return;
    const { link, address, prefixLength } = decoded;
    const { flags, label } = addressDetails(message);
    devices.get(link)?.addresses.push({
      address,
      prefixLength,
      flags,
      ...(label === undefined || label === link ? {} : { label }),
    });
  });
  if (links === "interrupted" || addresses === "interrupted") return { interrupted: "address" };
  return { result: [...devices.values()].sort((a, b) => a.ifindex - b.ifindex) };
}

/** IFA_FLAGS has all flags; the byte in the header only has the lowest eight. */
function addressDetails(message: MessageReader): { flags: number; label: string | undefined } {
  const { view, start, end } = message;
  const attributes = new Attributes().read(message, start + k.ifaddrmsg.size, end);
  const flags = attributes.u32(k.IFA_FLAGS) ?? view.getUint8(start + k.ifaddrmsg.ifa_flags);
  return { flags, label: attributes.text(k.IFA_LABEL) };
}

function altNamesIn(message: MessageReader): string[] {
  const { bytes, start, end } = message;
  const names: string[] = [];
  new Attributes().read(message, start + k.ifinfomsg.size, end)
    .each(k.IFLA_PROP_LIST, (from, to) => {
      const text = decoder.decode(bytes.subarray(from, to));
      names.push(text.replace(/\0.*$/s, ""));
    });
  return names;
}

const decoder = new TextDecoder();
