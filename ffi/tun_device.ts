/**
 * TUN devices: IP packets without a link-layer header (Documentation/networking/tuntap.rst).
 *
 * Functions that fail throw a `SystemError` with the errno.
 */

import { closeSync, constants, openSync } from "node:fs";
import { errnoName } from "./errno.ts";
import { errno, libc } from "./libc.ts";
import * as k from "./linux.ts";
import { addressOf, type Pointer } from "./memory.ts";

/** A system call failed. */
export class SystemError extends Error {
  override readonly name = "SystemError";
  readonly errno: number;

  constructor(call: string, number: number) {
    super(`${call} failed with ${errnoName(number)}`);
    this.errno = number;
  }
}

/**
 * Creates a device that exists until it is deleted; EEXIST if the name is taken. The device gets
 * its name last: the kernel does not announce that it becomes persistent, and it is persistent when
 * the name is announced.
 */
export function createPersistentTun(
  { name, mtuBytes, up }: { name: string; mtuBytes: number; up: boolean },
): void {
  const fd = openDriver();
  try {
    const created = request(UNNAMED, k.IFF_TUN | k.IFF_NO_PI);
    control("TUNSETIFF", fd, k.TUNSETIFF, created);
    const unnamed = nameOf(created);
    setPersistence(fd, "persistent");
    try {
      setMtu(unnamed, mtuBytes);
      rename(unnamed, name);
    } catch (error) {
      setPersistence(fd, "temporary");
      throw error;
    }
    setState(name, up ? "up" : "down");
  } finally {
    closeSync(fd); // deletes a device that is not persistent
  }
}

/**
 * Opens the persistent device of this name for non-blocking reads; the caller closes the
 * descriptor. `undefined` if there is none. EBUSY if another process has it open, EINVAL if it is a
 * device of another kind.
 */
export function attachTun(name: string): number | undefined {
  if (!hasDevice(name)) return undefined;
  const fd = openDriver();
  try {
    control("TUNSETIFF", fd, k.TUNSETIFF, request(name, k.IFF_TUN | k.IFF_NO_PI));
    const attached = request(name, 0);
    control("TUNGETIFF", fd, k.TUNGETIFF, attached);
    // If the device was just deleted, TUNSETIFF created another one, which is not persistent.
    if ((flagsOf(attached) & k.IFF_PERSIST) !== 0) return fd;
  } catch (error) {
    closeSync(fd);
    throw error;
  }
  closeSync(fd);
  return undefined;
}

function openDriver(): number {
  return openSync("/dev/net/tun", constants.O_RDWR | constants.O_NONBLOCK);
}

function hasDevice(name: string): boolean {
  return withSocket((fd) => libc().ioctl(fd, k.SIOCGIFINDEX, addressOf(request(name, 0))) >= 0);
}

function setPersistence(fd: number, persistence: "persistent" | "temporary"): void {
  const value = (persistence === "persistent" ? 1 : 0) as Pointer; // a number, not an address
  if (libc().ioctl(fd, k.TUNSETPERSIST, value) < 0) {
    throw new SystemError("TUNSETPERSIST", errno());
  }
}

function setMtu(name: string, mtuBytes: number): void {
  const mtu = request(name, 0);
  new DataView(mtu.buffer).setInt32(k.ifreq.ifr_mtu, mtuBytes, true);
  withSocket((fd) => control("SIOCSIFMTU", fd, k.SIOCSIFMTU, mtu));
}

function rename(name: string, newName: string): void {
  const names = request(name, 0);
  new TextEncoder().encodeInto(
    newName,
    names.subarray(k.ifreq.ifr_newname, k.ifreq.ifr_newname + IFNAMSIZ - 1),
  );
  withSocket((fd) => control("SIOCSIFNAME", fd, k.SIOCSIFNAME, names));
}

function setState(name: string, state: "up" | "down"): void {
  withSocket((fd) => {
    const current = request(name, 0);
    control("SIOCGIFFLAGS", fd, k.SIOCGIFFLAGS, current);
    const others = flagsOf(current) & ~k.IFF_UP;
    const flags = state === "up" ? others | k.IFF_UP : others;
    control("SIOCSIFFLAGS", fd, k.SIOCSIFFLAGS, request(name, flags));
  });
}

/** `struct ifreq` with a name and flags. */
function request(name: string, flags: number): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(k.ifreq.size);
  new TextEncoder().encodeInto(name, bytes.subarray(0, IFNAMSIZ - 1));
  new DataView(bytes.buffer).setUint16(k.ifreq.ifr_flags, flags, true);
  return bytes;
}

function flagsOf(bytes: Uint8Array<ArrayBuffer>): number {
  return new DataView(bytes.buffer).getUint16(k.ifreq.ifr_flags, true);
}

function nameOf(bytes: Uint8Array<ArrayBuffer>): string {
  const name = bytes.subarray(0, IFNAMSIZ);
  return new TextDecoder().decode(name.subarray(0, name.indexOf(0)));
}

function control(call: string, fd: number, operation: number, argument: Uint8Array): void {
  if (libc().ioctl(fd, operation, addressOf(argument)) < 0) throw new SystemError(call, errno());
}

function withSocket<T>(use: (fd: number) => T): T {
  const fd = libc().socket(k.AF_INET, k.SOCK_DGRAM | k.SOCK_CLOEXEC, 0);
  if (fd < 0) throw new SystemError("socket", errno());
  try {
    return use(fd);
  } finally {
    libc().close(fd);
  }
}

const IFNAMSIZ = 16; // linux/if.h
/** The kernel replaces `%d` by a number. */
const UNNAMED = "flannel-tun%d";
