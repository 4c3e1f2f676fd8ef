/** The devices of this network namespace with their addresses and the addresses' flags. */

import * as k from "../../ffi/linux.ts";
import type { IpAddress } from "../addr/ip.ts";
import { Channel } from "./channel.ts";
import { decodeAddress, decodeLink } from "./decoder.ts";
import { type DumpKind, Encoder } from "./encoder.ts";
import { type Reading, readUndisturbed } from "./interrupted.ts";
import { Attributes, type MessageReader } from "./reader.ts";
import { NetlinkSocket } from "./socket.ts";

export interface HostDevice {
  readonly name: string;
  readonly ifindex: number;
  readonly mtuBytes: number;
  /** IFF_UP. */
  readonly up: boolean;
  readonly addresses: readonly HostDeviceAddress[];
}

export interface HostDeviceAddress {
  readonly address: IpAddress;
  readonly prefixLength: number;
  /** IFA_F_* of linux/if_addr.h. */
  readonly flags: number;
}

/**
 * Reads all devices, in the order of their indexes, and their addresses in the kernel's order.
 * Throws `KernelError`, and `DumpInterruptedError` when the tables change under every attempt.
 */
export async function readHostDevices(): Promise<HostDevice[]> {
  using socket = new NetlinkSocket();
  using encoder = new Encoder();
  const channel = new Channel(socket, encoder);
  return await readUndisturbed(() => readOnce(channel));
}

function readOnce(channel: Channel<Encoder>): Reading<HostDevice[]> {
  const devices = new Map<string, HostDevice & { addresses: HostDeviceAddress[] }>();
  const names = new Map<number, string>();
  const readAll = (kind: DumpKind, read: (message: MessageReader) => void) =>
    channel.readTable((encoder) => encoder.dump(kind, 0, 0), read);
  const links = readAll("link", (message) => {
    const decoded = decodeLink(message);
    if (decoded === undefined) return;
    const { ifindex, link: { name, mtuBytes, up } } = decoded;
    names.set(ifindex, name);
    devices.set(name, { name, ifindex, mtuBytes, up, addresses: [] });
  });
  const addresses = readAll("address", (message) => {
    const decoded = decodeAddress(message, names);
    if (decoded === undefined) return;
    const { link, address, prefixLength } = decoded;
    devices.get(link)?.addresses.push({ address, prefixLength, flags: addressFlags(message) });
  });
  if (links === "interrupted" || addresses === "interrupted") return { interrupted: "address" };
  return { result: [...devices.values()].sort((a, b) => a.ifindex - b.ifindex) };
}

/** IFA_FLAGS has all of them; the header's byte has the lower eight. */
function addressFlags(message: MessageReader): number {
  const { view, start, end } = message;
  const flags = new Attributes().read(message, start + k.ifaddrmsg.size, end).u32(k.IFA_FLAGS);
  return flags ?? view.getUint8(start + k.ifaddrmsg.ifa_flags);
}
