import { describe, expect, test } from "bun:test";
import { ALLOC } from "../../../src/backend/alloc/alloc_descriptor.ts";
import { EXTENSION } from "../../../src/backend/extension/extension_descriptor.ts";
import { HOST_GW } from "../../../src/backend/host_gw/host_gw_descriptor.ts";
import { IPSEC } from "../../../src/backend/ipsec/ipsec_descriptor.ts";
import { TENCENT_VPC } from "../../../src/backend/tencent_vpc/tencent_vpc_descriptor.ts";
import { WIREGUARD } from "../../../src/backend/wireguard/wireguard_descriptor.ts";
import { backendConfig, backendFaults } from "../../../src/lab/lab_backend.ts";
import type { BackendDescriptor } from "../../../src/overlay/backend_descriptor.ts";

describe("backendConfig()", () => {
  test("is the type alone where the backend's defaults are enough", () => {
    expect(backendConfig(WIREGUARD, [4, 6])).toEqual({ Type: "wireguard" });
  });

  test("gives ipsec a key of its own, long enough for the backend", () => {
    const [first, second] = [1, 2].map(() => backendConfig(IPSEC, [4]));
    expect(first).toEqual({ Type: "ipsec", PSK: expect.stringMatching(/^[0-9a-f]{96}$/) });
    expect(first?.["PSK"]).not.toBe(second?.["PSK"]);
  });

  test("gives extension commands for the families of the lab, and only those", () => {
    expect(backendConfig(EXTENSION, [4])).toEqual({
      Type: "extension",
      SubnetAddCommand: "ip route replace $SUBNET via $PUBLIC_IP",
      SubnetRemoveCommand: "ip route del $SUBNET via $PUBLIC_IP",
    });
    expect(backendConfig(EXTENSION, [4, 6])).toMatchObject({
      SubnetAddCommand: "ip route replace $SUBNET via $PUBLIC_IP && " +
        "ip route replace $IPV6SUBNET via $PUBLIC_IPV6",
    });
  });
});

describe("backendFaults()", () => {
  const needing = (...programs: string[][]): BackendDescriptor => ({
    ...ALLOC,
    lab: { oneOf: programs.map((some) => ({ features: [], programs: some })) },
  });
  const missing = (name: string) =>
    `program ${name} not found; install it with: apt-get install ${name}`;

  test("says that tencent-vpc needs the cloud", async () => {
    expect(await backendFaults(TENCENT_VPC)).toEqual([
      "no lab can run tencent-vpc: it writes routes of a network in Tencent Cloud and works only " +
      "there",
    ]);
  });

  test.each([ALLOC, HOST_GW])("asks nothing for $type", async (descriptor) => {
    expect(await backendFaults(descriptor)).toEqual([]);
  });

  test("is satisfied by one complete way, and by one of a way's programs", async () => {
    expect(await backendFaults(needing(["no-such-a"], ["no-such-b", "sh"]))).toEqual([]);
  });

  test("lists what the only way lacks, and what each of several lacks in one line", async () => {
    expect(await backendFaults(needing(["no-such-a", "no-such-b"]))).toEqual([
      missing("no-such-a"),
    ]);
    expect(await backendFaults(needing(["no-such-a"], ["no-such-b"]))).toEqual([
      `${missing("no-such-a")}; or: ${missing("no-such-b")}`,
    ]);
  });
});
