/** The delegate's configuration, as Go's plugin makes it of the same files. */

import { describe, expect, test } from "bun:test";
import { CniError } from "../../../src/cni/cni_error.ts";
import { delegateConfig, delegateConfigText } from "../../../src/cni/delegate_config.ts";
import { parsePluginConfig } from "../../../src/cni/plugin_config.ts";
import { parseSubnetEnvironment } from "../../../src/cni/subnet_environment.ts";

const IPV4 = "FLANNEL_NETWORK=10.244.0.0/16\nFLANNEL_SUBNET=10.244.1.1/24\n";
const IPV6 = "FLANNEL_IPV6_NETWORK=fc00::/48\nFLANNEL_IPV6_SUBNET=fc00:0:0:1::1/64\n";
const END = "FLANNEL_MTU=1450\nFLANNEL_IPMASQ=true\n";

/** That of flannel's manifest, as a runtime passes it. */
const MANIFEST = {
  name: "cbr0",
  cniVersion: "0.3.1",
  type: "flannel",
  delegate: { hairpinMode: true, isDefaultGateway: true },
};

function made(config: object, subnet = IPV4 + END): string {
  const parsed = parsePluginConfig(JSON.stringify(config));
  const environment = parseSubnetEnvironment(subnet, "/run/flannel/subnet.env");
  return delegateConfigText(delegateConfig(parsed, environment));
}

function refusal(config: object): string {
  try {
    return `no refusal: ${made(config)}`;
  } catch (error) {
    if (!(error instanceof CniError)) throw error;
    return `${error.code}: ${error.message}`;
  }
}

describe("delegateConfig()", () => {
  test("is that of Go's plugin for flannel's manifest", () => {
    expect(made(MANIFEST)).toBe(
      '{"cniVersion":"0.3.1","hairpinMode":true,"ipMasq":false,"ipam":{"ranges":' +
        '[[{"subnet":"10.244.1.0/24"}]],"routes":[{"dst":"10.244.0.0/16"}],"type":"host-local"},' +
        '"isDefaultGateway":true,"isGateway":true,"mtu":1450,"name":"cbr0","type":"bridge"}',
    );
  });

  test("has a range for each family and a route for each network", () => {
    expect(JSON.parse(made(MANIFEST, IPV4 + IPV6 + END)).ipam).toEqual({
      type: "host-local",
      ranges: [[{ subnet: "10.244.1.0/24" }], [{ subnet: "fc00:0:0:1::/64" }]],
      routes: [{ dst: "10.244.0.0/16" }, { dst: "fc00::/48" }],
    });
    expect(JSON.parse(made(MANIFEST, IPV6 + END)).ipam).toEqual({
      type: "host-local",
      ranges: [[{ subnet: "fc00:0:0:1::/64" }]],
      routes: [{ dst: "fc00::/48" }],
    });
  });

  test("takes several networks of one line, each once", () => {
    const several = IPV4.replace("/16", "/16,192.168.0.0/16,10.244.9.9/16");
    expect(JSON.parse(made(MANIFEST, several + END)).ipam.routes).toEqual([
      { dst: "10.244.0.0/16" },
      { dst: "192.168.0.0/16" },
    ]);
  });

  test("masquerades if the daemon does not", () => {
    expect(JSON.parse(made(MANIFEST, IPV4 + END.replace("true", "false")))).toMatchObject({
      ipMasq: true,
    });
  });

  test("keeps the keys of delegate, also those that it would set", () => {
    const delegate = { bridge: "mynet0", mtu: 1400, ipMasq: true, isGateway: false };
    expect(JSON.parse(made({ ...MANIFEST, delegate }))).toMatchObject(delegate);
  });

  test("makes a gateway of a bridge only", () => {
    const delegate = { type: "ipvlan", master: "eth0" };
    const config = JSON.parse(made({ ...MANIFEST, delegate }));
    expect(config).toMatchObject({ type: "ipvlan", master: "eth0", mtu: 1450 });
    expect(config).not.toHaveProperty("isGateway");
  });

  test("completes ipam, and keeps its routes before those of the networks", () => {
    const routes = [{ dst: "10.96.0.0/12" }, { dst: "192.168.244.0/24", gw: "10.244.1.20" }];
    const ipam = { type: "my-ipam", "unknown-param": "x", routes, ranges: [["old"]] };
    expect(JSON.parse(made({ ...MANIFEST, ipam })).ipam).toEqual({
      type: "my-ipam",
      "unknown-param": "x",
      routes: [...routes, { dst: "10.244.0.0/16" }],
      ranges: [[{ subnet: "10.244.1.0/24" }]],
    });
  });

  test("passes runtimeConfig on, and no version if there is none", () => {
    const runtimeConfig = { portMappings: [{ hostPort: 80, containerPort: 8080 }] };
    const config = JSON.parse(made({ name: "old", type: "flannel", runtimeConfig }));
    expect(config.runtimeConfig).toEqual(runtimeConfig);
    expect(config).not.toHaveProperty("cniVersion");
  });

  test("does not pass on prevResult: ADD is the first of its chain", () => {
    expect(made({ ...MANIFEST, prevResult: { cniVersion: "0.3.1" } })).toBe(made(MANIFEST));
  });

  test("refuses what no delegate can be run with", () => {
    const of = (delegate: unknown) => refusal({ ...MANIFEST, delegate });
    expect([
      of({ name: "x" }),
      of({ ipam: {} }),
      of({ type: 3 }),
      of({ type: null }),
      of({ type: "" }),
      of({ type: "../bin/sh" }),
      of({ type: "flannel" }),
      of([]),
    ]).toEqual([
      "7: delegate has the key name, which flannel sets itself; remove it",
      "7: delegate has the key ipam, which flannel sets itself; write it next to delegate, not " +
      "into it",
      "7: the type of delegate is 3; it must be the name of a plugin",
      "7: the type of delegate is null; it must be the name of a plugin",
      '7: the type of delegate is ""; it must be the name of a plugin',
      '7: the type of delegate is "../bin/sh"; it must be the name of a plugin',
      "7: the type of delegate is flannel, which would call itself",
      "6: delegate is []; it must be an object",
    ]);
  });

  test("refuses routes without a network in dst", () => {
    const of = (routes: unknown) => refusal({ ...MANIFEST, ipam: { routes } });
    expect([of("10.0.0.0/8"), of(["10.0.0.0/8"]), of([{ dst: "10.0.0.0" }])]).toEqual([
      '7: ipam.routes is "10.0.0.0/8", not a list',
      '7: ipam.routes has "10.0.0.0/8"; a route is {"dst": "10.96.0.0/12"}',
      '7: ipam.routes has {"dst":"10.0.0.0"}; a route is {"dst": "10.96.0.0/12"}',
    ]);
  });
});

describe("parseSubnetEnvironment()", () => {
  function problem(text: string): string {
    try {
      return `no problem: ${JSON.stringify(parseSubnetEnvironment(text, "/s.env"))}`;
    } catch (error) {
      if (!(error instanceof CniError)) throw error;
      return error.message;
    }
  }

  test("names each line that is missing", () => {
    expect(problem("")).toBe(
      "loadFlannelSubnetEnv failed: /s.env is missing FLANNEL_NETWORK, FLANNEL_IPV6_NETWORK, " +
        "FLANNEL_SUBNET, FLANNEL_IPV6_SUBNET, FLANNEL_MTU, FLANNEL_IPMASQ",
    );
    expect(problem(IPV4)).toBe(
      "loadFlannelSubnetEnv failed: /s.env is missing FLANNEL_MTU, FLANNEL_IPMASQ",
    );
  });

  test("names a line that it cannot read", () => {
    expect([
      problem(IPV4.replace("10.244.1.1/24", "10.244.1.1") + END),
      problem(IPV4.replace("10.244.0.0/16", "fc00::/48") + END),
      problem(IPV4 + END.replace("1450", "-1")),
    ]).toEqual([
      'loadFlannelSubnetEnv failed: FLANNEL_SUBNET in /s.env has "10.244.1.1", which is not an ' +
      "IPv4 network",
      'loadFlannelSubnetEnv failed: FLANNEL_NETWORK in /s.env has "fc00::/48", which is not an ' +
      "IPv4 network",
      'loadFlannelSubnetEnv failed: FLANNEL_MTU in /s.env is "-1", not a number of bytes',
    ]);
  });
});
