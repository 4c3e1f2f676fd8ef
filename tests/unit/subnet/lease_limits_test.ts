/** The limits of an acceptable lease, text by text and address by address. */

import { describe, expect, test } from "bun:test";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { IpAddress } from "../../../src/addr/ip.ts";
import type { Prefix } from "../../../src/addr/prefix.ts";
import { parseNetworkConfig } from "../../../src/config/network_config.ts";
import type { InvalidLease, Lease, LeaseKey } from "../../../src/subnet/lease.ts";
import { decodeLeaseKey, decodeLeaseValue } from "../../../src/subnet/lease_codec.ts";
import { LeaseTable } from "../../../src/subnet/lease_table.ts";
import { whyInvalid } from "../../../src/subnet/lease_validation.ts";
import { readSubnetFile } from "../../../src/subnet/subnet_file.ts";

const CONFIG = parseNetworkConfig('{"Network":"10.5.0.0/16"}', { source: "test", warn: () => {} });
const RULES = {
  config: CONFIG,
  own: { key: "own" as LeaseKey, subnets: { 4: "10.5.1.0/24" as Prefix } },
  backendType: "vxlan",
};

function lease(address: string | undefined, subnet = "10.5.2.0/24"): Lease {
  return {
    key: subnet.replace("/", "-") as LeaseKey,
    subnets: { 4: subnet as Prefix },
    attributes: {
      publicAddresses: address === undefined ? {} : { 4: address as IpAddress },
      backendType: "vxlan",
      backendData: {},
    },
    created: 1n,
    changed: 1n,
  };
}

describe("whyInvalid()", () => {
  test("misses the public address of a subnet's family", () => {
    expect(whyInvalid(lease(undefined), RULES)).toBe("it has no public IPv4 address");
    expect(whyInvalid(lease("192.0.2.1"), RULES)).toBeUndefined();
  });

  test("takes the first and the last address that a node's subnet may hold for inside", () => {
    // SubnetMin is 10.5.1.0, and SubnetMax 10.5.255.0 with its /24.
    const inside = ["10.5.1.0", "10.5.255.255"].map((one) => whyInvalid(lease(one), RULES));
    expect(inside).toEqual([
      "its public address 10.5.1.0 is inside the overlay network 10.5.0.0/16",
      "its public address 10.5.255.255 is inside the overlay network 10.5.0.0/16",
    ]);
    expect(whyInvalid(lease("10.5.0.255"), RULES)).toBeUndefined();
    expect(whyInvalid(lease("10.6.0.0"), RULES)).toBeUndefined();
  });
});

test("LeaseTable reports each of two leases that are rejected for the same reason, once", () => {
  const reports: InvalidLease[] = [];
  const table = new LeaseTable({
    ...RULES,
    onRejected: (one) => void reports.push(one),
    seed: 0.5,
  });
  const hostile = ["10.5.2.0/24", "10.5.3.0/24"].map((subnet) => lease("127.0.0.1", subnet));
  for (let i = 0; i < 2; i++) {
    table.apply({ kind: "snapshot", leases: hostile, invalid: [], revision: 9n });
  }
  expect(reports.map(({ key }) => key as string)).toEqual(["10.5.2.0-24", "10.5.3.0-24"]);
});

describe("a lease as text", () => {
  test("has one or two subnets in its key, and nothing after them", () => {
    expect(decodeLeaseKey("10.5.2.0-24&fc00:0:0:2::-64") as unknown).toEqual({
      4: "10.5.2.0/24",
      6: "fc00:0:0:2::/64",
    });
    for (const key of ["10.5.2.0-24&fc00:0:0:2::-64&", "10.5.2.0-24&fc00:0:0:2::-64&10.5.3.0-24"]) {
      expect(decodeLeaseKey(key)).toBeUndefined();
    }
    for (const key of ["10.5.2.1-24", "10.5.2.0/24", "fc00:0:0:2::-64", "", "&"]) {
      expect(decodeLeaseKey(key)).toBeUndefined();
    }
  });

  test.each(["7", "true", '"text"', "null", "[]"])(
    "has an object as its value, not %s",
    (value) => {
      expect(decodeLeaseValue(value)).toBe("its value is not a JSON object");
    },
  );

  test("may have Go's text for no IPv4 address, but none for no IPv6 address", () => {
    expect(decodeLeaseValue('{"PublicIP":"0.0.0.0"}')).toMatchObject({ publicAddresses: {} });
    expect(decodeLeaseValue('{"PublicIPv6":"0.0.0.0"}')).toBe(
      "its PublicIPv6 is not an IPv6 address",
    );
    expect(decodeLeaseValue('{"PublicIP":null,"BackendData":null}')).toEqual({
      publicAddresses: {},
      backendType: "",
      backendData: {},
    });
    expect(Object.keys((decodeLeaseValue("{}") as Lease["attributes"]).publicAddresses))
      .toEqual([]);
  });
});

test("readSubnetFile() names the file in front of what is wrong in it", async () => {
  const directory = mkdtempSync(join(tmpdir(), "subnet-file-test-"));
  try {
    const path = join(directory, "subnet.env");
    writeFileSync(path, "FLANNEL_SUBNET=10.5.2.1/24\nnonsense\n");
    const warnings: string[] = [];
    const found = await readSubnetFile(path, (message) => warnings.push(message));
    expect(found.subnets as unknown).toEqual({ 4: "10.5.2.0/24" });
    expect(warnings).toEqual([`subnet file ${path}: line 2 is not NAME=value; skipping it`]);
  } finally {
    rmSync(directory, { recursive: true });
  }
});
