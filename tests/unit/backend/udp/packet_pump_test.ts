/** The pump between real sockets; one that is connected to the test stands for the TUN device. */

import { afterEach, beforeEach, expect, test } from "bun:test";
import { libc } from "../../../../ffi/libc.ts";
import * as k from "../../../../ffi/linux.ts";
import { addressOf } from "../../../../ffi/memory.ts";
import { systemClock } from "../../../../src/base/clock.ts";
import { checksum } from "../../../../src/backend/udp/ip_packet.ts";
import { NextHops } from "../../../../src/backend/udp/next_hops.ts";
import { PacketPump, type PumpEnds } from "../../../../src/backend/udp/packet_pump.ts";

const LOOPBACK = 0x7f000001;
const NETWORK = { address: 0x0a050000, length: 16 }; // 10.5.0.0/16
const OWN = 0x0a050107;
const PEER = 0x0a050209;
const UNKNOWN = 0x0a05c801;
const OUTSIDE = 0x08080808;

let sockets: number[];
let device: { pump: number; test: number };
let wire: { pump: number; test: number };
let ends: PumpEnds;
let icmpErrors: string[];
let unsent: { errno: number; destination: number }[];
let pump: PacketPump;

beforeEach(() => {
  sockets = [];
  icmpErrors = [];
  unsent = [];
  device = { pump: udpSocket(), test: udpSocket() };
  wire = { pump: udpSocket(), test: udpSocket() };
  connect(device.pump, device.test);
  connect(device.test, device.pump);
  connect(wire.test, wire.pump);
  const hops = new NextHops();
  hops.set({ address: PEER & 0xffffff00, length: 24 }, LOOPBACK);
  pump = new PacketPump({
    hops,
    clock: systemClock,
    onRejected: (_packet, { type }) => icmpErrors.push(`ICMP ${type}`),
    onUnsent: (why) => unsent.push(why),
  });
  const port = portOf(wire.test);
  ends = { tunFd: device.pump, socketFd: wire.pump, port, network: NETWORK };
});

afterEach(() => sockets.forEach((fd) => libc().close(fd)));

test("packets of all sizes arrive in order, each in a datagram, with a decremented TTL", () => {
  const sizes = [1400, 1400, 1400, 600, 1400, 20, 20, 1000, 1200, ...Array(40).fill(1472)];
  sizes.forEach((bytes, id) => send(device.test, ipPacket({ bytes, id })));
  expect(pump.sendFromDevice(ends)).toBe(true);
  const seen = receiveAll(wire.test);
  expect(seen.map(({ length }) => length)).toEqual(sizes);
  expect(seen.map((bytes) => viewOf(bytes).getUint16(4))).toEqual(sizes.map((_, id) => id));
  for (const bytes of seen) {
    expect(bytes[8]).toBe(63);
    expect(checksum(bytes.subarray(0, 20))).toBe(0);
  }
  expect(pump.sendFromDevice(ends)).toBe(false);
  expect(unsent).toEqual([]);
});

test("an unknown destination or an expired TTL causes an ICMP error; other packets pass", () => {
  send(device.test, ipPacket({ id: 1 }));
  send(device.test, ipPacket({ destination: UNKNOWN }));
  send(device.test, ipPacket({ ttl: 1 }));
  send(device.test, Uint8Array.of(0x60, 0, 0, 0)); // IPv6
  send(device.test, ipPacket({ id: 2 }));
  pump.sendFromDevice(ends);
  expect(receiveAll(wire.test).map((bytes) => viewOf(bytes).getUint16(4))).toEqual([1, 2]);
  expect(icmpErrors).toEqual(["ICMP 3", "ICMP 11"]);
});

test("received packets for this network go to the device, with a decremented TTL", () => {
  send(wire.test, ipPacket({ destination: OWN, id: 1 }));
  send(wire.test, ipPacket({ destination: OUTSIDE }));
  send(wire.test, ipPacket({ destination: OWN, ttl: 1 }));
  send(wire.test, new Uint8Array(0));
  send(wire.test, ipPacket({ destination: OWN, id: 2 }));
  expect(pump.receiveToDevice(ends)).toBe(true);
  const seen = receiveAll(device.test);
  expect(seen.map((bytes) => viewOf(bytes).getUint16(4))).toEqual([1, 2]);
  for (const bytes of seen) expect([bytes[8], checksum(bytes.subarray(0, 20))]).toEqual([63, 0]);
  expect(icmpErrors).toEqual(["ICMP 11"]);
});

test("only the packets to an unreachable destination are lost, and they are counted", () => {
  // Without SO_BROADCAST the kernel refuses 255.255.255.255.
  const hops = new NextHops();
  hops.set({ address: PEER, length: 32 }, LOOPBACK);
  hops.set({ address: UNKNOWN, length: 32 }, 0xffffffff);
  pump = new PacketPump({
    hops,
    clock: systemClock,
    onRejected: () => {},
    onUnsent: (why) => unsent.push(why),
  });
  for (const [index, destination] of [PEER, UNKNOWN, UNKNOWN, PEER, PEER].entries()) {
    send(device.test, ipPacket({ destination, id: index }));
  }
  pump.sendFromDevice(ends);
  expect(receiveAll(wire.test).map((bytes) => viewOf(bytes).getUint16(4))).toEqual([0, 3, 4]);
  const why = { errno: EACCES, destination: 0xffffffff };
  expect(unsent).toEqual([why, why]);
});

test("GSO that the kernel refuses is tried again after a while", () => {
  let now = 0;
  const hops = new NextHops();
  hops.set({ address: PEER, length: 32 }, LOOPBACK);
  const onUnsent = (why: { errno: number; destination: number }) => void unsent.push(why);
  pump = new PacketPump({ hops, clock: { nowMs: () => now }, onRejected: () => {}, onUnsent });
  setOption(wire.test, k.IPPROTO_UDP, UDP_GRO, 1); // a GSO message on loopback arrives in one piece
  const usesGso = () => {
    for (let id = 0; id < 4; id++) send(device.test, ipPacket({ bytes: 1000, id }));
    const seen: number[] = [];
    const limitMs = performance.now() + 10_000; // on a busy machine they may come a moment later
    while (seen.reduce((sum, bytes) => sum + bytes, 0) < 4000 && performance.now() < limitMs) {
      pump.sendFromDevice(ends);
      seen.push(...receiveAll(wire.test).map(({ length }) => length));
    }
    expect(seen.reduce((sum, bytes) => sum + bytes, 0)).toBe(4000);
    return seen.some((bytes) => bytes > 1000);
  };
  expect(usesGso()).toBe(true);
  setOption(wire.pump, k.SOL_SOCKET, SO_NO_CHECK, 1); // which disables GSO in the kernel
  expect(usesGso()).toBe(false);
  setOption(wire.pump, k.SOL_SOCKET, SO_NO_CHECK, 0);
  now = 9_999;
  expect(usesGso()).toBe(false);
  now = 10_000;
  expect(usesGso()).toBe(true);
  expect(unsent).toEqual([]);
});

test("of 100 000 random packets, none leaves the network and none is damaged", () => {
  let passed = 0;
  for (let round = 0; round < 100_000 / 50; round++) {
    for (let i = 0; i < 50; i++) send(wire.test, randomPacket());
    pump.receiveToDevice(ends);
    for (const bytes of receiveAll(device.test)) {
      passed++;
      const view = viewOf(bytes);
      expect(view.getUint32(16) >>> 16).toBe(NETWORK.address >>> 16);
      expect(bytes[0] as number >> 4).toBe(4);
      expect(view.getUint16(2)).toBeLessThanOrEqual(bytes.length);
    }
  }
  expect(passed).toBeGreaterThan(1000); // otherwise the test proves nothing
}, 60_000);

const EACCES = 13; // asm-generic/errno-base.h
const UDP_GRO = 104; // linux/udp.h
const SO_NO_CHECK = 11; // asm-generic/socket.h

function setOption(fd: number, level: number, name: number, value: number): void {
  const bytes = addressOf(new Uint8Array(Int32Array.of(value).buffer));
  if (libc().setsockopt(fd, level, name, bytes, 4) !== 0) throw new Error("setsockopt");
}

interface PacketFields {
  readonly bytes?: number;
  readonly id?: number;
  readonly ttl?: number;
  readonly destination?: number;
}

function ipPacket({ bytes = 100, id = 0, ttl = 64, destination = PEER }: PacketFields): Uint8Array {
  const packet = new Uint8Array(bytes);
  const view = viewOf(packet);
  view.setUint8(0, 0x45);
  view.setUint16(2, bytes);
  view.setUint16(4, id);
  view.setUint8(8, ttl);
  view.setUint8(9, 17);
  view.setUint32(12, OWN);
  view.setUint32(16, destination);
  view.setUint16(10, checksum(packet.subarray(0, 20)));
  return packet;
}

/** A valid packet, mostly with a few random bytes in its header; sometimes only random bytes. */
function randomPacket(): Uint8Array {
  const random = (below: number) => Math.floor(Math.random() * below);
  const packet = ipPacket({ bytes: 20 + random(60), destination: NETWORK.address + random(65536) });
  if (random(4) === 0) return crypto.getRandomValues(new Uint8Array(random(80)));
  for (let i = random(4); i > 0; i--) packet[random(20)] = random(256);
  return packet.subarray(0, random(10) === 0 ? random(packet.length) : packet.length);
}

function udpSocket(): number {
  const fd = libc().socket(k.AF_INET, k.SOCK_DGRAM | k.SOCK_NONBLOCK | k.SOCK_CLOEXEC, 0);
  sockets.push(fd);
  if (libc().bind(fd, addressOf(socketName(0)), k.sockaddr_in.size) !== 0) throw new Error("bind");
  return fd;
}

function connect(from: number, to: number): void {
  const name = socketName(portOf(to));
  if (libc().connect(from, addressOf(name), name.length) !== 0) throw new Error("connect");
}

function portOf(fd: number): number {
  const name = socketName(0);
  libc().getsockname(fd, addressOf(name), addressOf(new Uint8Array([name.length, 0, 0, 0])));
  return viewOf(name).getUint16(k.sockaddr_in.sin_port);
}

function socketName(port: number): Uint8Array {
  const name = new Uint8Array(k.sockaddr_in.size);
  viewOf(name).setUint16(k.sockaddr_in.sin_family, k.AF_INET, true);
  viewOf(name).setUint16(k.sockaddr_in.sin_port, port);
  viewOf(name).setUint32(k.sockaddr_in.sin_addr, LOOPBACK);
  return name;
}

function send(fd: number, bytes: Uint8Array): void {
  const whole = bytes.length === 0 ? new Uint8Array(1) : bytes;
  libc().send(fd, addressOf(whole), bytes.length, 0);
}

const buffer = new Uint8Array(65536);

function receiveAll(fd: number): Uint8Array[] {
  const seen: Uint8Array[] = [];
  for (;;) {
    const length = Number(libc().recv(fd, addressOf(buffer), buffer.length, k.MSG_DONTWAIT));
    if (length < 0) return seen;
    seen.push(buffer.slice(0, length));
  }
}

function viewOf(bytes: Uint8Array): DataView<ArrayBuffer> {
  return new DataView(bytes.buffer as ArrayBuffer, bytes.byteOffset, bytes.byteLength);
}
