import { describe, expect, test } from "bun:test";
import { authorization } from "../../../../src/backend/tencent_vpc/signature.ts";

describe("authorization()", () => {
  test("is what the vendor's description of the method gives for its example", () => {
    const stars = "*".repeat(32);
    const request = {
      service: "cvm",
      host: "cvm.tencentcloudapi.com",
      action: "DescribeInstances",
      payload:
        '{"Limit": 1, "Filters": [{"Values": ["\\u672a\\u547d\\u540d"], "Name": "instance-name"}]}',
      timestampSeconds: 1551113065,
    };
    const key = { accessKeyId: `AKID${stars}`, accessKeySecret: stars };
    expect(authorization(request, key)).toBe(
      `TC3-HMAC-SHA256 Credential=AKID${stars}/2019-02-25/cvm/tc3_request, ` +
        "SignedHeaders=content-type;host;x-tc-action, " +
        "Signature=10b1a37a7301a02ca19a647ad722d5e43b4b3cff309d421d85b46093f6ab6c4f",
    );
  });

  test("takes the day from the timestamp in UTC", () => {
    const day = (timestampSeconds: number) =>
      /\/(\d{4}-\d\d-\d\d)\//.exec(authorization(
        { service: "vpc", host: "h", action: "A", payload: "{}", timestampSeconds },
        { accessKeyId: "k", accessKeySecret: "s" },
      ))?.[1];
    const midnight = Date.UTC(2026, 2, 1) / 1000;
    expect([day(midnight - 1), day(midnight)]).toEqual(["2026-02-28", "2026-03-01"]);
  });
});
