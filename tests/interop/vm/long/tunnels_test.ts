/** Hosts of both programs with ipip and with udp; for udp, ours uses the kernel, not a proxy. */

import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { eventually } from "../../../support/wait.ts";
import { MixedCluster, type MixedHost } from "../../mixed_cluster.ts";

interface Case {
  readonly name: string;
  readonly backend: Readonly<Record<string, unknown>>;
  readonly mtuBytes: number;
  /** `BackendType` of the leases. */
  readonly type: string | undefined;
}

const CASES: readonly Case[] = [
  { name: "ipip", backend: { Type: "ipip" }, mtuBytes: 1480, type: "ipip" },
  {
    name: "ipip with DirectRouting",
    backend: { Type: "ipip", DirectRouting: true },
    mtuBytes: 1480,
    type: "ipip",
  },
  { name: "udp", backend: { Type: "udp" }, mtuBytes: 1472, type: undefined },
  {
    name: "udp with another port",
    backend: { Type: "udp", Port: 9000 },
    mtuBytes: 1472,
    type: undefined,
  },
];

describe.each(CASES.map((row) => [row.name, row] as const))("%s", (_, row) => {
  let cluster: MixedCluster;

  beforeAll(async () => {
    const kinds = ["Go", "ours", "Go", "ours"] as const;
    cluster = await MixedCluster.start({ kinds, families: [4], backend: row.backend });
  }, 900_000);

  afterAll(async () => {
    await cluster?.[Symbol.asyncDispose]();
  }, 180_000);

  test("workloads of Go and of ours reach each other at full MTU", async () => {
    for (const { host } of cluster.hosts) expect(host.subnet().mtuBytes).toBe(row.mtuBytes);
    expect(await cluster.unanswered()).toEqual([]);
  }, 180_000);

  test("both programs write the same lease, but for their own address", async () => {
    for (const host of cluster.hosts) {
      const { key, value, etcdLease } = await cluster.leaseOf(host);
      expect(key).toMatch(/^10\.244\.\d+\.0-24$/);
      expect(JSON.stringify(value)).toBe(JSON.stringify({
        PublicIP: host.host.address(4),
        PublicIPv6: null,
        ...(row.type === undefined ? {} : { BackendType: row.type }),
      }));
      expect(etcdLease).not.toBe("0");
    }
  });
});

describe("the datagrams of udp", () => {
  let cluster: MixedCluster;

  beforeAll(async () => {
    cluster = await MixedCluster.start({
      kinds: ["Go", "ours"],
      families: [4],
      backend: { Type: "udp" },
    });
  }, 900_000);

  afterAll(async () => {
    await cluster?.[Symbol.asyncDispose]();
  }, 180_000);

  test("have the same form from both programs", async () => {
    const [go, ours] = [cluster.first("Go"), cluster.first("ours")];
    const [fromGo, fromOurs] = await Promise.all([datagram(ours, go), datagram(ours, ours)]);
    expect(fromGo).toEqual({ ports: "8285 > 8285", inner: "request", bytes: 1028, version: 0x45 });
    expect(fromOurs).toEqual(fromGo);
  }, 180_000);

  test(
    "continue when a host changes from Go to ours and, once its device is deleted, back",
    async () => {
      const host = cluster.first("Go");
      for (const kind of ["ours", "Go", "ours"] as const) {
        await host.host.daemon.stop();
        // Ours leaves the device and the port in place, and Go's takes neither over.
        if (kind === "Go") await host.host.sh("ip link del flannel0\nip fou del port 8285");
        await host.up(kind);
        await eventually("every workload is reached", 30_000, async () => {
          expect(await cluster.unanswered()).toEqual([]);
          return true;
        });
      }
    },
    300_000,
  );

  /** One echo request of `sender`, in a datagram as captured on the wire at `at`. */
  async function datagram(at: MixedHost, sender: MixedHost) {
    const receiver = cluster.hosts.find((host) => host !== sender) as MixedHost;
    const ping = sender.host.ping(receiver.host);
    const filter = `src ${sender.host.address(4)} and udp port 8285 and udp[28] == 8`;
    const text = await at.host.sh(
      `timeout 30 tcpdump -c 1 -nn -x -i eth0 '${filter}' 2>/dev/null`,
    );
    await ping.stop();
    const [, ports, bytes] = /\.(\d+ > [\d.]+): UDP, length (\d+)/.exec(text) ?? [];
    const hex = text.replaceAll(/^.*IP .*\n|0x[0-9a-f]+:|\s/gm, "");
    const payload = Buffer.from(hex, "hex").subarray(20 + 8);
    return {
      ports: ports?.replace(/ > .*\./, " > "),
      bytes: Number(bytes),
      version: payload[0],
      inner: payload[20] === 8 ? "request" : "something else",
    };
  }
});
