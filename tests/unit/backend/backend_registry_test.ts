import { describe, expect, test } from "bun:test";
import type { Family } from "../../../src/addr/ip.ts";
import {
  BACKEND_TYPES,
  carriesIpv6,
  checkBackend,
  loadBackend,
} from "../../../src/backend/backend_registry.ts";
import { collectingLog } from "../../support/collecting_log.ts";
import { FakeKernel } from "../../support/fake_kernel.ts";
import { backendHost, config, HOST } from "../../support/sample_network.ts";

const LOG = collectingLog().log;
const FAMILIES: Family[][] = [[4], [6], [4, 6]];

describe("loadBackend()", () => {
  test("knows each type, in any case", async () => {
    for (const type of BACKEND_TYPES) {
      expect((await loadBackend(type.toUpperCase())).type).toBe(type);
    }
  });

  test("knows no other name, also of what every object has", async () => {
    await expect(loadBackend("toString")).rejects.toThrow('Backend Type "toString" is unknown');
  });
});

describe("checkBackend()", () => {
  test("names an unknown type, and the one that is probably meant", async () => {
    await expect(checkBackend(config("vxlans", [4]), LOG)).rejects.toThrow(
      'Backend Type "vxlans" is unknown; this program has alloc, extension, host-gw, ipip, ipsec, ' +
        'tencent-vpc, udp, vxlan, wireguard; did you mean "vxlan"?',
    );
  });

  test("lets IPv4 through with every type, and IPv6 with those that carry it", async () => {
    const refusals = await Promise.all(
      BACKEND_TYPES.map((type) => Promise.all(FAMILIES.map((families) => refusal(type, families)))),
    );
    expect(refusals).toEqual(BACKEND_TYPES.map((type) => {
      const onlyIpv4 = expect.stringContaining(`the ${type} backend carries IPv4 only`);
      return FAMILIES.map((families) => families.includes(6) && !carriesIpv6(type) ? onlyIpv4 : "");
    }));
  });

  test("knows the options that Windows nodes of the same network have", async () => {
    const { log, records } = collectingLog();
    const windows = { Name: "flannel.4096", macPrefix: "0E-2A" };
    await checkBackend(config("vxlan", [4], { VNI: 4096, Port: 4789, ...windows }), log);
    const bridge = { Name: "cbr0", DNSServerList: "10.0.0.10" };
    await checkBackend(config("host-gw", [4], bridge), log);
    expect(records).toEqual([]);
    await checkBackend(config("wireguard", [4], windows), log);
    expect(records).toHaveLength(2);
  });

  test("refuses an option as the backend itself does, and names what it does not know", async () => {
    const { log, records } = collectingLog();
    const check = (type: string, options: Record<string, unknown>) =>
      checkBackend(config(type, [4], options), log);
    const where = "the network configuration's Backend object";
    await expect(check("vxlan", { VNI: "one" })).rejects.toThrow(
      `VNI in ${where} is "one"; it must be an integer from 0 to 16777215`,
    );
    await expect(check("ipsec", {})).rejects.toThrow("the PSK of the ipsec backend is missing");
    await check("udp", { Ports: 1 });
    expect(records.map(({ msg }) => msg)).toEqual([
      `unknown key "Ports" in ${where} is ignored; did you mean "Port"?`,
    ]);
  });

  /** Why the backend is refused with its options as they are by default; empty if it is not. */
  function refusal(type: string, families: readonly Family[]): Promise<string> {
    const options = type === "ipsec" ? { PSK: "x".repeat(96) } : {};
    return checkBackend(config(type, families, options), LOG)
      .then(() => "", (error: Error) => error.message);
  }
});

test("carriesIpv6() takes a type in any case", () => {
  expect([carriesIpv6("IPIP"), carriesIpv6("VXLAN")]).toEqual([false, true]);
});

test("carriesIpv6() says of each type what the backend itself says", async () => {
  const refusals = await Promise.all(BACKEND_TYPES.map(async (type) => {
    const kernel = new FakeKernel();
    kernel.seed(...HOST);
    const host = backendHost(kernel, config(type, [4, 6]));
    const { prepare } = await loadBackend(type);
    const message = await prepare(host).then(() => "", (error) => (error as Error).message);
    return message.includes("IPv4 only");
  }));
  expect(refusals).toEqual(BACKEND_TYPES.map((type) => !carriesIpv6(type)));
});
