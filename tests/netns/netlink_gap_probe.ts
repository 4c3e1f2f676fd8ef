/**
 * Looks up a route repeatedly until its input ends, then prints the number of look-ups, and of
 * those that found none: shows whether a route is ever missing while it is replaced.
 */

import { systemClock } from "../../src/base/clock.ts";
import type { IpAddress } from "../../src/addr/ip.ts";
import { NetlinkKernel } from "../../src/kernel/netlink_kernel.ts";

using kernel = new NetlinkKernel({ clock: systemClock });
const address = Bun.argv[2] as IpAddress;
let isDone = false;
process.stdin.on("end", () => isDone = true).resume();
let lookups = 0;
let misses = 0;
console.log("ready");
while (!isDone) {
  for (let i = 0; i < 200; i++, lookups++) {
    const found = await kernel.routeTo(address);
    if (found.link !== "flannel.1" && found.link !== "under0") misses++;
  }
  await new Promise((resolve) => setImmediate(resolve));
}
console.log(JSON.stringify({ lookups, misses }));
