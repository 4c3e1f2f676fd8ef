/** The pings of a lab, between namespaces whose addresses come late. */

import { expect, test } from "bun:test";
import type { IpAddress } from "../../src/addr/ip.ts";
import { pingAll, type PingEnd } from "../../src/lab/ping.ts";
import { run } from "../../src/process/process.ts";

const NAMES = ["one", "two", "three"];

function end(name: string, index: number): PingEnd {
  const addresses = { 4: `192.0.2.${index + 1}` as IpAddress };
  return { name, namespace: `lp-${name}`, addresses, mtuBytes: 1500 };
}

async function sh(script: string): Promise<void> {
  const { exitCode, stderr } = await run("sh", ["-ec", script]);
  if (exitCode !== 0) throw new Error(stderr);
}

/** How many of the six pings are answered where the second and the third host come later and later. */
async function answered(isPatient: boolean): Promise<number> {
  const ends = NAMES.map(end);
  await sh("ip link add lp-br type bridge; ip link set lp-br up");
  for (const [index, { namespace }] of ends.entries()) {
    await sh(
      `ip netns add ${namespace}
ip link add lp-${index} master lp-br type veth peer name eth0 netns ${namespace}
ip link set lp-${index} up
ip -n ${namespace} link set eth0 up`,
    );
  }
  const give = ({ namespace, addresses }: PingEnd) =>
    sh(`ip -n ${namespace} addr add ${addresses[4]}/24 dev eth0`);
  try {
    const late = (async () => {
      for (const one of ends) {
        await give(one);
        await Bun.sleep(3_000);
      }
    })();
    const pings = await pingAll(ends, { timeoutMs: 4_000, isPatient });
    await late;
    return pings.filter(({ milliseconds }) => milliseconds !== undefined).length;
  } finally {
    for (const { namespace } of ends) await sh(`ip netns del ${namespace}`);
    await sh("ip link del lp-br");
  }
}

test("pings without an answer are repeated until their time is up", async () => {
  expect(await answered(false)).toBe(2);
}, 30_000);

test("patient ones go on as long as others are answered", async () => {
  expect(await answered(true)).toBe(6);
}, 30_000);
