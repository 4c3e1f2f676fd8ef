import { describe, expect, test } from "bun:test";
import { ConfigError } from "../../../src/config/config_error.ts";
import {
  ipv6MtuProblem,
  leavesRoomForIpv6,
  requireIpv6Mtu,
} from "../../../src/overlay/ipv6_mtu.ts";
import { external } from "../../support/sample_network.ts";

describe("of the MTU of an underlay", () => {
  test("1280 bytes must be left after the overhead of the tunnel", () => {
    expect([1279, 1280].map((mtuBytes) => leavesRoomForIpv6(mtuBytes, 0))).toEqual([false, true]);
    expect([1349, 1350].map((mtuBytes) => leavesRoomForIpv6(mtuBytes, 70))).toEqual([false, true]);
  });
});

describe("the option MTU", () => {
  test("may be absent, and is enough if it leaves 1280 bytes", () => {
    requireIpv6Mtu(undefined, 70);
    requireIpv6Mtu(1350, 70);
  });

  test("is rejected if it leaves less, with the smallest value that is enough", () => {
    expect(() => requireIpv6Mtu(1349, 70)).toThrow(
      new ConfigError(
        "MTU 1349 leaves 1279 bytes for packets in the tunnel; IPv6 needs 1280, so it must be at " +
          "least 1350",
      ),
    );
  });
});

describe("an external interface", () => {
  test("is no problem if its MTU leaves 1280 bytes", () => {
    expect(ipv6MtuProblem({ ...external([6]), mtuBytes: 1350 }, 70)).toBeUndefined();
  });

  test("with a smaller MTU is reported with the MTU that it needs", () => {
    expect(ipv6MtuProblem({ ...external([6]), mtuBytes: 1349 }, 70)).toBe(
      "interface eth0 has an MTU of 1349 bytes, which leaves 1279 for packets in the tunnel; " +
        "IPv6 needs 1280 (RFC 8200): raise its MTU to at least 1350, or set EnableIPv6 to false " +
        "in the network configuration",
    );
  });
});
