/** Go flannel and ours in one network of ipsec: policies, charons, and a change of program. */

import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { associations, charonPid, connections, policyText, PSK } from "../../../support/ipsec.ts";
import { eventually } from "../../../support/wait.ts";
import { type Kind, MixedCluster, type MixedHost, subnetOf } from "../../mixed_cluster.ts";

const CASES = [
  ["with ESP alone", {}, 1423],
  ["with ESP in UDP", { UDPEncap: true }, 1415],
] as const;

describe.each(CASES)("%s", (_name, options, mtuBytes) => {
  let cluster: MixedCluster;

  beforeAll(async () => {
    cluster = await MixedCluster.start({
      kinds: ["Go", "ours", "Go"],
      families: [4],
      backend: { Type: "ipsec", PSK, ...options },
    });
  }, 900_000);

  afterAll(async () => {
    await cluster?.[Symbol.asyncDispose]();
  }, 180_000);

  test("workloads of Go and of ours reach each other at full MTU, by ESP", async () => {
    await reached(cluster);
    for (const { host } of cluster.hosts) {
      expect(host.subnet().mtuBytes).toBe(mtuBytes);
      const states = await host.sh("ip -s xfrm state");
      expect(states.includes("encap type espinudp")).toBe("UDPEncap" in options);
      // Both directions of both tunnels have carried packets.
      const used = states.split(/^(?=src )/m).filter((state) => /[1-9]\d*\(packets\)/.test(state));
      expect(used.length).toBeGreaterThanOrEqual(4);
    }
  }, 180_000);

  test("both programs write leases of the same form", async () => {
    const values = await Promise.all(
      cluster.hosts.map(async (host) => (await cluster.leaseOf(host)).value),
    );
    const forms = values.map((value) => JSON.stringify({ ...value, PublicIP: "" }));
    expect(new Set(forms)).toEqual(
      new Set(['{"PublicIP":"","PublicIPv6":null,"BackendType":"ipsec"}']),
    );
  });

  test("every host has the policies and the connections of every other", async () => {
    for (const host of cluster.hosts) {
      const others = cluster.hosts.filter((other) => other !== host);
      const wanted = others.flatMap((other) => policies(host, other)).sort().join("");
      expect(await policyText(host.host)).toBe(wanted);
      const names = others.map((other) => connectionBetween(host, other)).sort();
      expect(await connections(host.host)).toEqual(names);
    }
  });

  test.each(["SIGTERM", "SIGKILL"] as const)("ours restarts by %s without a lost packet", async (
    signal,
  ) => {
    const ours = cluster.first("ours");
    const ping = cluster.first("Go").host.ping(ours.host);
    await eventually("the ping is answered", 30_000, () => ping.received > 5);
    await ours.replaceBy("ours", signal);
    await Bun.sleep(1000);
    expect((await ping.stop()).lost).toEqual([]);
  }, 180_000);

  test("a host changes from Go to ours and back, and is reached again", async () => {
    const host = cluster.hosts[0] as MixedHost;
    const { key } = await cluster.leaseOf(host);
    for (const kind of ["ours", "Go", "ours"] as const) {
      await change(host, kind);
      await reached(cluster);
      expect((await cluster.leaseOf(host)).key).toBe(key);
      const others = cluster.hosts.slice(1);
      expect(await connections(host.host))
        .toEqual(others.map((other) => connectionBetween(host, other)).sort());
      expect(await policyText(host.host))
        .toBe(others.flatMap((other) => policies(host, other)).sort().join(""));
    }
  }, 600_000);
});

/** As the manual says: before Go flannel can start its charon, ours must end. */
async function change(host: MixedHost, kind: Kind): Promise<void> {
  await host.host.daemon.stop();
  if (host.kind === "ours") process.kill(await charonPid(host.host), "SIGTERM");
  await host.up(kind);
  await eventually(
    "there are associations",
    60_000,
    async () => JSON.stringify(await associations(host.host)).includes("INSTALLED"),
  );
}

/** The tunnel ended with a charon, and the new one waits for its peer: allows for that time. */
async function reached(cluster: MixedCluster): Promise<void> {
  await eventually("every workload reaches every other", 60_000, async () => {
    const silent = await cluster.unanswered();
    if (silent.length > 0) throw new Error(silent.join("; "));
    return true;
  });
}

function policies(own: MixedHost, other: MixedHost): string[] {
  const policy = (from: MixedHost, to: MixedHost, direction: string) =>
    `xfrm policy src ${subnetOf(from, 4).subnet} dst ${subnetOf(to, 4).subnet} dir ${direction} ` +
    `tmpl src ${from.host.address(4)} dst ${to.host.address(4)} proto esp reqid 11 mode tunnel\n`;
  return [policy(own, other, "out"), policy(other, own, "in"), policy(other, own, "fwd")];
}

function connectionBetween(own: MixedHost, other: MixedHost): string {
  const subnets = `${subnetOf(own, 4).subnet}-${subnetOf(other, 4).subnet}`;
  return `${own.host.address(4)}-${subnets}-${other.host.address(4)}`;
}
