import { describe, expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import type { Family } from "../../../src/addr/ip.ts";
import { BACKENDS } from "../../../src/backend/backend_registry.ts";
import { ConfigError } from "../../../src/config/config_error.ts";
import type { BackendDescriptor } from "../../../src/overlay/backend_descriptor.ts";
import { collectingLog } from "../../support/collecting_log.ts";
import { config } from "../../support/sample_network.ts";

const LOG = collectingLog().log;
const FAMILIES: Family[][] = [[4], [6], [4, 6]];
const DESCRIPTORS = BACKENDS.types.map((type) => BACKENDS.find(type) as BackendDescriptor);
const IPV4_ONLY = ["ipip", "ipsec", "tencent-vpc", "udp"];

describe("BACKENDS", () => {
  test("finds each type in upper and lower case, and nothing else", () => {
    expect(BACKENDS.types).toEqual(BACKENDS.types.toSorted());
    for (const type of BACKENDS.types) {
      expect(BACKENDS.find(type.toUpperCase())?.type).toBe(type);
    }
    expect(BACKENDS.find("toString")).toBeUndefined();
  });

  test.each(DESCRIPTORS)("loads $type", async (descriptor) => {
    const { prepare, checkConfig } = await descriptor.load();
    expect([typeof prepare, typeof checkConfig]).toEqual(["function", "function"]);
  });

  test("names the devices of every backend, and only those", () => {
    const names = "flannel.1 flannel.16777215 flannel-v6.1 flannel-wg flannel-wg-v6 flannel.ipip " +
      "flannel0 flannel flannel1 flannel.1a my-flannel.1 flannel-wg2 cni0 eth0";
    const found = names.split(" ").filter((name) => BACKENDS.isDeviceName(name));
    expect(found).toEqual(names.split(" ").slice(0, 7));
  });
});

test("the manual's table says of each backend what its descriptor does", () => {
  const { pathname } = new URL("../../../docs/configuration.md", import.meta.url);
  const rows = readFileSync(pathname, "utf8").matchAll(/^\| \[`(.+?)`\]\(backends\/.*$/gm);
  const documented = [...rows].map(([row, type]) => ({
    type: type as string,
    families: row.endsWith("| both |") ? [4, 6] : [4],
    connectsNodes: !row.includes("subnets only"),
    encrypts: row.includes("| encrypted, "),
  }));
  const described = DESCRIPTORS.map(({ type, families, connectsNodes, encrypts }) => ({
    type,
    families,
    connectsNodes,
    encrypts,
  }));
  expect(documented.sort((a, b) => a.type < b.type ? -1 : 1) as unknown).toEqual(described);
});

test("a lab needs these parts of the kernel for a backend, in one of several ways", () => {
  const features = DESCRIPTORS.map(({ type, lab }) => [
    type,
    lab?.oneOf?.map((way) => way.features.join(" and ")).join(" or ") ?? "",
  ]);
  expect(Object.fromEntries(features)).toEqual({
    alloc: "",
    extension: "",
    "host-gw": "",
    ipip: "ipip",
    ipsec: "esp4",
    "tencent-vpc": "",
    udp: "fou or tun",
    vxlan: "vxlan",
    wireguard: "wireguard or tun",
  });
});

describe("forNetwork()", () => {
  test("rejects an unknown type and suggests the one that is probably meant", () => {
    const vxlans = () => BACKENDS.forNetwork(config("vxlans", [4]));
    expect(vxlans).toThrow(ConfigError);
    expect(vxlans).toThrow(
      'unknown Backend Type "vxlans"; use one of alloc, extension, host-gw, ipip, ipsec, ' +
        'tencent-vpc, udp, vxlan, wireguard; did you mean "vxlan"?',
    );
    expect(whyRejected(config("VXLANS", [4]))).toEndWith('; did you mean "vxlan"?');
    expect(whyRejected(config("quantum", [4]))).toEndWith(", vxlan, wireguard");
  });

  test.each(BACKENDS.types)("with %s takes IPv4, and IPv6 if the backend carries it", (type) => {
    const errors = FAMILIES.map((families) => whyRejected(config(type, families)));
    const onlyIpv4 = expect.stringContaining(`the ${type} backend carries IPv4 only`);
    expect(errors).toEqual(IPV4_ONLY.includes(type) ? ["", onlyIpv4, onlyIpv4] : ["", "", ""]);
  });

  test("says what to change about IPv6, and which backends carry it", () => {
    expect(whyRejected(config("udp", [4, 6]))).toBe(
      "the udp backend carries IPv4 only, and the network configuration has EnableIPv6; remove " +
        "it, or use extension, host-gw, vxlan or wireguard",
    );
    expect(whyRejected(config("tencent-vpc", [6]))).toContain(
      "set it to false and EnableIPv4 to true, or use",
    );
  });

  test("suggests for a backend that encrypts only one that does, too", () => {
    expect(whyRejected(config("ipsec", [4, 6]))).toEndWith("remove it, or use wireguard");
  });

  function whyRejected(network: ReturnType<typeof config>): string {
    try {
      BACKENDS.forNetwork(network);
      return "";
    } catch (error) {
      expect(error).toBeInstanceOf(ConfigError);
      return (error as Error).message;
    }
  }
});

describe("checkConfig()", () => {
  test("accepts the options that Windows nodes of the same network have", async () => {
    const { log, records } = collectingLog();
    const windows = { Name: "flannel.4096", macPrefix: "0E-2A" };
    const vxlan = config("vxlan", [4], { VNI: 4096, Port: 4789, ...windows });
    await BACKENDS.checkConfig(vxlan, log);
    const bridge = { Name: "cbr0", DNSServerList: "10.0.0.10" };
    await BACKENDS.checkConfig(config("host-gw", [4], bridge), log);
    expect(records).toEqual([]);
    await BACKENDS.checkConfig(config("wireguard", [4], windows), log);
    expect(records).toHaveLength(2);
  });

  test("rejects a network or an option as a daemon would, and warns of unknown ones", async () => {
    const { log, records } = collectingLog();
    const check = (type: string, options: Record<string, unknown>) =>
      BACKENDS.checkConfig(config(type, [4], options), log);
    const where = "the network configuration's Backend object";
    await expect(check("vxlan", { VNI: "one" })).rejects.toThrow(
      `VNI in ${where} is "one"; it must be an integer from 0 to 16777215`,
    );
    await expect(check("ipsec", {})).rejects.toThrow("the PSK of the ipsec backend is missing");
    await expect(BACKENDS.checkConfig(config("ipip", [4, 6]), LOG)).rejects.toThrow("IPv4 only");
    await check("udp", { Ports: 1 });
    expect(records.map(({ msg }) => msg)).toEqual([
      `unknown key "Ports" in ${where} is ignored; did you mean "Port"?`,
    ]);
  });
});
