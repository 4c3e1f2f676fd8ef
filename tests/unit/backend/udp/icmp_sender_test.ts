import { expect, test } from "bun:test";
import { closeSync, fstatSync, openSync, readdirSync } from "node:fs";
import { systemClock } from "../../../../src/base/clock.ts";
import { IcmpSender } from "../../../../src/backend/udp/icmp_sender.ts";

test("an ICMP sender that is disposed twice does not close a reused descriptor", () => {
  const before = new Set(openDescriptors());
  const sender = new IcmpSender(systemClock);
  const [own] = openDescriptors().filter((fd) => !before.has(fd));
  sender[Symbol.dispose]();
  const reused = openSync("/dev/null", "r");
  expect(reused).toBe(own as number);
  sender[Symbol.dispose]();
  expect(isOpen(reused)).toBe(true);
  closeSync(reused);
});

function openDescriptors(): number[] {
  return readdirSync("/proc/self/fd").map(Number).filter(isOpen);
}

/** Listing the directory needs a descriptor, which is closed by now. */
function isOpen(fd: number): boolean {
  try {
    fstatSync(fd);
    return true;
  } catch {
    return false;
  }
}
