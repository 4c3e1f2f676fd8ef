import { describe, expect, test } from "bun:test";
import type { Family } from "../../../src/addr/ip.ts";
import {
  BACKEND_TYPES,
  carriesIpv6,
  checkBackend,
  loadBackend,
} from "../../../src/backend/registry.ts";
import { FakeKernel } from "../../support/fake_kernel.ts";
import { backendHost, config, HOST } from "../../support/sample_network.ts";

const FAMILIES: Family[][] = [[4], [6], [4, 6]];

describe("checkBackend()", () => {
  test("names an unknown type, and the one that is probably meant", () => {
    expect(() => checkBackend(config("vxlans", [4]))).toThrow(
      'Backend Type "vxlans" is unknown; this program has alloc, extension, host-gw, ipip, ipsec, ' +
        'tencent-vpc, udp, vxlan, wireguard; did you mean "vxlan"?',
    );
  });

  test("lets IPv4 through with every type, and IPv6 with those that carry it", () => {
    const accepted = BACKEND_TYPES.map((type) =>
      FAMILIES.filter((families) => accepts(type, families))
    );
    expect(accepted).toEqual(BACKEND_TYPES.map((type) => carriesIpv6(type) ? FAMILIES : [[4]]));
  });

  function accepts(type: string, families: readonly Family[]): boolean {
    try {
      checkBackend(config(type, families));
      return true;
    } catch (error) {
      expect((error as Error).message).toContain(`the ${type} backend carries IPv4 only`);
      return false;
    }
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
