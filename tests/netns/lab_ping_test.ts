/** The pings of a lab, between namespaces whose addresses come late. */

import { expect, test } from "bun:test";
import { systemClock } from "../../src/base/clock.ts";
import type { IpAddress } from "../../src/addr/ip.ts";
import { pingAll, type PingEnd } from "../../src/lab/ping_matrix.ts";
import { Namespace } from "../support/network_namespace.ts";

const ENDS = 3;
const TIMEOUT_MS = 12_000;

/** How many of the six pings are answered where the hosts get their addresses after these times. */
async function answered(isPatient: boolean, arrivalsMs: readonly number[]): Promise<number> {
  // Everything is created inside of them: the kernel removes a deleted namespace's devices slowly.
  await using stack = new AsyncDisposableStack();
  const bridge = stack.use(await Namespace.create());
  await bridge.sh("ip link add br0 up type bridge");
  const hosts: Namespace[] = [];
  const ends: PingEnd[] = [];
  for (let index = 0; index < ENDS; index++) {
    const host = stack.use(await Namespace.create());
    await bridge.sh(
      `ip link add port${index} master br0 up type veth peer name eth0 netns ${host.name}`,
    );
    await host.sh("ip link set eth0 up");
    hosts.push(host);
    const addresses = { 4: `192.0.2.${index + 1}` as IpAddress };
    ends.push({ name: `host${index}`, namespace: host.name, addresses, mtuBytes: 1500 });
  }
  const arrivals = arrivalsMs.map(async (ms, index) => {
    await Bun.sleep(ms);
    await hosts[index]?.sh(`ip addr add 192.0.2.${index + 1}/24 dev eth0`);
  });
  const pings = await pingAll(ends, { timeoutMs: TIMEOUT_MS, isPatient, clock: systemClock });
  await Promise.all(arrivals);
  return pings.filter(({ milliseconds }) => milliseconds !== undefined).length;
}

test("pings without an answer are repeated until their time is up", async () => {
  expect(await answered(false, [0, 1_000])).toBe(2);
}, 120_000);

test("patient pings continue as long as others are answered", async () => {
  // The third comes after the first limit, long before the one set by replies to the second.
  expect(await answered(true, [0, TIMEOUT_MS / 2, TIMEOUT_MS + 300])).toBe(6);
}, 120_000);
