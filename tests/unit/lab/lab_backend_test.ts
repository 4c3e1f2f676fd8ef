import { describe, expect, test } from "bun:test";
import { backendConfig, backendFaults } from "../../../src/lab/lab_backend.ts";

describe("backendConfig()", () => {
  test("is the type alone where the backend's defaults do", () => {
    expect(backendConfig({ backend: "wireguard", families: [4, 6] })).toEqual({
      Type: "wireguard",
    });
  });

  test("gives ipsec a key of its own, long enough for the backend", () => {
    const [first, second] = [1, 2].map(() => backendConfig({ backend: "ipsec", families: [4] }));
    expect(first).toEqual({ Type: "ipsec", PSK: expect.stringMatching(/^[0-9a-f]{96}$/) });
    expect(first?.["PSK"]).not.toBe(second?.["PSK"]);
  });

  test("gives extension commands for the families of the lab, and only those", () => {
    expect(backendConfig({ backend: "extension", families: [4] })).toEqual({
      Type: "extension",
      SubnetAddCommand: "ip route replace $SUBNET via $PUBLIC_IP",
      SubnetRemoveCommand: "ip route del $SUBNET via $PUBLIC_IP",
    });
    expect(backendConfig({ backend: "extension", families: [4, 6] })).toMatchObject({
      SubnetAddCommand: "ip route replace $SUBNET via $PUBLIC_IP && " +
        "ip route replace $IPV6SUBNET via $PUBLIC_IPV6",
    });
  });
});

describe("backendFaults()", () => {
  test("says that tencent-vpc needs the cloud", async () => {
    const faults = await backendFaults({ backend: "tencent-vpc", families: [4] });
    expect(faults).toEqual([expect.stringContaining("Tencent Cloud")]);
  });

  test.each(["alloc", "host-gw"])("asks nothing for %s", async (backend) => {
    expect(await backendFaults({ backend, families: [4] })).toEqual([]);
  });
});
