import { describe, expect, test } from "bun:test";
import type { Backend } from "../../../../src/overlay/backend.ts";
import tencentVpc from "../../../../src/backend/tencent_vpc/tencent_vpc.ts";
import { encodeLeaseValue } from "../../../../src/subnet/lease_codec.ts";
import { FakeKernel } from "../../../support/fake_kernel.ts";
import { backendHost, config, external, lease } from "../../../support/sample_network.ts";

const KEYS = { AccessKeyID: "id", AccessKeySecret: "secret-1" };
const ENV = { ACCESS_KEY_ID: "id", ACCESS_KEY_SECRET: "secret-1" };

async function prepare(
  options: Record<string, unknown>,
  env: Record<string, string> = {},
  families: (4 | 6)[] = [4],
): Promise<Backend> {
  const network = config("tencent-vpc", families, options);
  return await tencentVpc.prepare(backendHost(new FakeKernel(), network, { env }));
}

describe("tencent-vpc", () => {
  test("advertises the same as Go flannel, and creates no kernel entries", async () => {
    const backend = await prepare(KEYS);
    expect(encodeLeaseValue(backend.attributes)).toBe(
      '{"PublicIP":"192.168.0.1","PublicIPv6":null}',
    );
    const input = { own: lease(1, "", [4]), external: external([4]) };
    expect(backend.node(input)).toEqual([]);
    expect(backend.peer(lease(2, "", [4]), input, { direct: {}, path: {} })).toEqual([]);
    expect(backend.mtuBytes(external([4]))).toBe(1500);
  });

  test("takes the keys from the environment, unless the configuration has both", async () => {
    await prepare({}, ENV);
    await prepare({ AccessKeyID: "id" }, ENV);
    const halves: [Record<string, string>, Record<string, string>][] = [
      [{}, {}],
      [{ AccessKeyID: "id" }, { ACCESS_KEY_ID: "id" }],
    ];
    for (const [options, env] of halves) {
      await expect(prepare(options, env)).rejects.toThrow(
        "set AccessKeyID and AccessKeySecret in the network configuration's Backend object, or " +
          "ACCESS_KEY_ID and ACCESS_KEY_SECRET",
      );
    }
  });

  test("does not show the secret of an invalid option", async () => {
    const error = await prepare({ ...KEYS, AccessKeySecret: 5115 }).catch((e: unknown) => e);
    expect((error as Error).message).toContain("AccessKeySecret");
    expect((error as Error).message).not.toContain("5115");
  });

  test.each(["ftp://x", "vpc.tencentcloudapi.com", "http://x/path"])(
    "refuses the endpoint %s",
    async (url) => {
      await expect(prepare(KEYS, { TENCENT_VPC_ENDPOINT: url })).rejects.toThrow(
        `TENCENT_VPC_ENDPOINT is ${JSON.stringify(url)}; it must be a URL like https://`,
      );
    },
  );
});
