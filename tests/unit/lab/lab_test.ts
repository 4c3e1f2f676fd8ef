import { describe, expect, test } from "bun:test";
import type { Ipv4 } from "../../../src/addr/ip.ts";
import { type HostReport, reportJson, reportText } from "../../../src/lab/lab_report.ts";
import { planTopology } from "../../../src/lab/topology.ts";
import { parseSubnetEnv, workloadAddresses } from "../../../src/lab/workload.ts";

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

test("parseSubnetEnv() reads the daemon's file, and the workload gets the second address", () => {
  const subnet = parseSubnetEnv(
    "FLANNEL_NETWORK=10.5.0.0/16\nFLANNEL_SUBNET=10.5.72.1/24\nFLANNEL_MTU=1450\n",
  );
  expect(subnet.mtuBytes).toBe(1450);
  expect(workloadAddresses(subnet) as object).toEqual({ 4: "10.5.72.2" });
  expect(() => parseSubnetEnv("FLANNEL_SUBNET=10.5.72.1\nFLANNEL_MTU=1\n")).toThrow("10.5.72.1");
  expect(() => parseSubnetEnv("FLANNEL_SUBNET=10.5.72.1/24\n")).toThrow("FLANNEL_MTU");
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

  test("shows hosts and who reached whom", () => {
    expect(reportText(report)).toBe(
      "HOST  PUBLIC IP  SUBNET       MTU   READY\n" +
        "h1    192.0.2.1  10.5.1.0/24  1450  0.25 s\n" +
        "h2    192.0.2.2  10.5.2.0/24  1450  0.25 s\n\n" +
        "IPv4: 1 of 2 pings at full MTU came back (ms)\n" +
        "FROM  to h1  to h2\nh1    .      0.25\nh2    LOST   .\n",
    );
  });

  test("of more hosts than fit a table names some of the pings that were lost", () => {
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
      "IPv4: 132 of 156 pings at full MTU came back",
      "no answer from h2 to h1",
    ]);
    expect(lines).toHaveLength(1 + 20 + 1);
    expect(lines.at(-1)).toBe("and 4 more");
  });

  test("is one JSON document that says of each ping whether it came back", () => {
    const json = JSON.parse(reportJson(report));
    expect(json.ok).toBe(false);
    expect(json.hosts[0].publicAddresses).toEqual({ ipv4: "192.0.2.1" });
    expect(json.pings.map((ping: { ok: boolean }) => ping.ok)).toEqual([true, false]);
  });
});
