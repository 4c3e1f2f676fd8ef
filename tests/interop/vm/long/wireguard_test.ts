/** Go flannel and ours in one network of wireguard: the leases they exchange, and the takeover. */

import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import type { Family } from "../../../../src/addr/ip.ts";
import { eventually } from "../../../support/wait.ts";
import { keyNames, wg, wireguardText } from "../../../support/wireguard_text.ts";
import { type Kind, MixedCluster, type MixedHost, subnetOf } from "../../mixed_cluster.ts";

interface Case {
  readonly name: string;
  readonly families: readonly Family[];
  readonly options: Readonly<Record<string, unknown>>;
  readonly kinds: readonly Kind[];
  /** Device, then the family that the peers of it are reached over, then those that it carries. */
  readonly devices: readonly (readonly [string, Family, readonly Family[]])[];
}

const PSK = "oEHRe5SRIqoumo0vgsCEsf3aNPBnu1xTsXQaUHxUpF4=";

const CASES: readonly Case[] = [
  {
    name: "IPv4, with a pre-shared key",
    families: [4],
    options: { PSK },
    kinds: ["Go", "ours", "Go", "ours"],
    devices: [["flannel-wg", 4, [4]]],
  },
  {
    name: "dual stack, mode separate",
    families: [4, 6],
    options: { ListenPort: 1000 },
    kinds: ["Go", "ours", "Go", "ours"],
    devices: [["flannel-wg", 4, [4]], ["flannel-wg-v6", 6, [6]]],
  },
  {
    name: "dual stack, mode auto",
    families: [4, 6],
    options: { Mode: "auto", PersistentKeepaliveInterval: 5 },
    kinds: ["Go", "ours", "Go", "ours"],
    devices: [["flannel-wg", 4, [4, 6]]],
  },
  {
    // Go flannel advertises the port of a device that it does not have here, so that two of its
    // nodes do not find each other.
    name: "dual stack, mode ipv6",
    families: [4, 6],
    options: { Mode: "ipv6" },
    kinds: ["Go", "ours", "ours"],
    devices: [["flannel-wg", 6, [4, 6]]],
  },
];

describe.each(CASES.map((row) => [row.name, row] as const))("%s", (_, row) => {
  let cluster: MixedCluster;

  beforeAll(async () => {
    const { kinds, families, options } = row;
    cluster = await MixedCluster.start({
      kinds,
      families,
      backend: { Type: "wireguard", ...options },
    });
  }, 900_000);

  afterAll(async () => {
    await cluster?.[Symbol.asyncDispose]();
  }, 180_000);

  test("workloads of Go and of ours reach each other at full MTU", async () => {
    expect(await cluster.unanswered()).toEqual([]);
    for (const { host } of cluster.hosts) expect(host.subnet().mtuBytes).toBe(1420);
  }, 180_000);

  test("both programs write leases of the same form", async () => {
    const values = await Promise.all(
      cluster.hosts.map(async (host) => (await cluster.leaseOf(host)).value),
    );
    const forms = values.map((value) => JSON.stringify(value, (key, part) => FIGURES[key] ?? part));
    expect(new Set(forms).size).toBe(1);
    const [port] = new Set(values.map(({ BackendData }) => BackendData?.Port));
    expect(port).toBe((row.options["ListenPort"] ?? 51820) as number);
  });

  test("every host has every other as a peer, under its key and with its subnets", async () => {
    const names = await keyNames(cluster.cluster);
    for (const host of cluster.hosts) {
      const wanted = row.devices.flatMap(([device, underlay, families]) =>
        cluster.hosts.filter((other) => other !== host).map((other) => {
          const address = other.host.address(underlay);
          const subnets = families.map((family) => subnetOf(other, family).subnet).sort();
          return `${device} peer <${other.host.name}> ${address} ${subnets}`;
        })
      ).sort();
      expect(await peers(host, names)).toEqual(wanted);
    }
  });

  test("a host upgraded from Go to ours after a crash keeps key, device and flows", async () => {
    const host = cluster.first("Go");
    const [key, device] = [await publicKey(host), await index(host)];
    const other = cluster.first("ours");
    const ping = other.host.ping(host.host);
    await eventually("the ping is answered", 60_000, () => ping.received > 5);
    await host.replaceBy("ours", "SIGKILL");
    await Bun.sleep(3000);
    const { lost } = await ping.stop();
    expect(lost).toEqual([]);
    expect([await publicKey(host), await index(host)]).toEqual([key, device]);
    expect(await cluster.unanswered()).toEqual([]);
  }, 180_000);

  test("a host changes from ours to Go and back, keeps its key, and is reached again", async () => {
    const host = cluster.first("ours");
    const key = await publicKey(host);
    for (const kind of ["Go", "ours"] as const) {
      await host.replaceBy(kind);
      expect(await publicKey(host)).toBe(key);
      expect(await cluster.unanswered()).toEqual([]);
    }
  }, 180_000);
});

/** What differs from host to host. The port is compared where it must be the same. */
const FIGURES: Readonly<Record<string, string>> = {
  PublicIP: "IPV4",
  PublicIPv6: "IPV6",
  PublicKey: "KEY",
  Port: "PORT",
};

/** `flannel-wg peer <h2> 192.0.2.2 10.244.7.0/24`, sorted. */
async function peers({ host }: MixedHost, names: ReadonlyMap<string, string>): Promise<string[]> {
  const text = await wireguardText(host, names);
  return [...text.matchAll(/^wireguard (.* peer \S+) endpoint (\S+):\d+ allowed-ips (\S+)/gm)]
    .map(([, peer, address, subnets]) => `${peer} ${address?.replaceAll(/[[\]]/g, "")} ${subnets}`)
    .sort();
}

async function publicKey({ host }: MixedHost): Promise<string> {
  return (await wg(host, "show flannel-wg public-key")).trim();
}

/** A recreated device has another one. */
async function index({ host }: MixedHost): Promise<string> {
  return (await host.sh("cat /sys/class/net/flannel-wg/ifindex")).trim();
}
