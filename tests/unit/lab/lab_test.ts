import { describe, expect, test } from "bun:test";
import type { Ipv4 } from "../../../src/addr/ip.ts";
import { type HostReport, reportJson, reportText } from "../../../src/lab/lab_report.ts";
import { planTopology } from "../../../src/lab/topology.ts";
import { workloadAddresses } from "../../../src/lab/workload.ts";
import { parseSubnetFile } from "../../../src/subnet/subnet_file.ts";

describe("planTopology()", () => {
  const plan = (hosts: number) =>
    planTopology({
      prefix: "p",
      hostSegments: new Array<number>(hosts).fill(0),
      families: [4, 6],
    });

  test("numbers hosts from the segment's start and puts etcd and the gateway at its end", () => {
    const { hosts, etcd, segments } = plan(2);
    expect(hosts[1]).toMatchObject({ namespace: "p-h2", workloadNamespace: "p-w2" });
    expect(hosts[1]?.addresses as object).toEqual({ 4: "192.0.2.2", 6: "2001:db8::2" });
    expect(etcd.addresses as object).toEqual({ 4: "192.0.2.253", 6: "2001:db8::fffd" });
    expect(segments[0]?.gateways as object).toEqual({ 4: "192.0.2.254", 6: "2001:db8::fffe" });
  });

  test("gives a thousand hosts addresses of their own, and refuses more", () => {
    const { hosts, etcd, segments } = plan(1000);
    const addresses = [...hosts, etcd].map((station) => station.addresses[4]);
    addresses.push(segments[0]?.gateways[4]);
    expect(new Set(addresses).size).toBe(1002);
    expect(() => plan(1001)).toThrow(RangeError);
  });
});

test("the workload gets the address after that of the bridge", () => {
  const text = "FLANNEL_NETWORK=10.5.0.0/16\nFLANNEL_SUBNET=10.5.72.1/24\nFLANNEL_MTU=1450\n";
  expect(workloadAddresses(parseSubnetFile(text)) as object).toEqual({ 4: "10.5.72.2" });
});

describe("the report", () => {
  const report = {
    lab: "fl-lab-000001",
    backend: "vxlan",
    ok: false,
    hosts: ["h1", "h2"].map((name, index) => ({
      name,
      publicAddresses: { 4: `192.0.2.${index + 1}` as Ipv4 },
      subnets: { 4: `10.5.${index + 1}.0/24` },
      mtuBytes: 1450,
      readyMs: 250,
    })),
    pings: [
      { from: "h1", to: "h2", family: 4 as const, milliseconds: 0.25 },
      { from: "h2", to: "h1", family: 4 as const },
    ],
  };

  test("shows the hosts and the round-trip time of each ping", () => {
    expect(reportText(report)).toBe(
      "HOST  PUBLIC IP  SUBNET       MTU   READY\n" +
        "h1    192.0.2.1  10.5.1.0/24  1450  0.25 s\n" +
        "h2    192.0.2.2  10.5.2.0/24  1450  0.25 s\n\n" +
        "IPv4: 1 of 2 pings at full MTU succeeded (ms)\n" +
        "FROM  to h1  to h2\nh1    .      0.25\nh2    LOST   .\n",
    );
  });

  test("lists some of the lost pings if the matrix would be too wide", () => {
    const names = Array.from({ length: 13 }, (_, index) => `h${index + 1}`);
    const hosts = names.map((name) => ({ ...report.hosts[0] as HostReport, name }));
    const pings = names.flatMap((from) =>
      names.filter((to) => to !== from).map((to) => ({
        from,
        to,
        family: 4 as const,
        ...(to === "h1" || to === "h2" ? {} : { milliseconds: 1 }),
      }))
    );
    const [, text = ""] = reportText({ ...report, hosts, pings }).split("\n\n");
    const lines = text.trimEnd().split("\n");
    expect(lines.slice(0, 2)).toEqual([
      "IPv4: 132 of 156 pings at full MTU succeeded",
      "no reply from h2 to h1",
    ]);
    expect(lines).toHaveLength(1 + 20 + 1);
    expect(lines.at(-1)).toBe("and 4 more");
  });

  test("is one JSON document with the result of each ping", () => {
    const json = JSON.parse(reportJson(report));
    expect(json.ok).toBe(false);
    expect(json.hosts[0].publicAddresses).toEqual({ ipv4: "192.0.2.1" });
    expect(json.pings.map((ping: { ok: boolean }) => ping.ok)).toEqual([true, false]);
  });
});
