import { expect, test } from "bun:test";
import type { IpAddress } from "../../../src/addr/ip.ts";
import type { Prefix } from "../../../src/addr/prefix.ts";
import { clearLeftovers } from "../../../src/backend/leftovers.ts";
import { KernelError } from "../../../src/netlink/kernel.ts";
import type { Ownership } from "../../../src/state/ownership.ts";
import { resourceKey } from "../../../src/state/resource_key.ts";
import type { XfrmPolicy } from "../../../src/state/resource.ts";
import { collectingLog } from "../../support/collecting_log.ts";
import { FakeKernel } from "../../support/fake_kernel.ts";

const OWNERSHIP: Ownership = {
  links: new Set(["flannel.1"]),
  linkTypes: new Set(["vxlan"]),
  networks: ["10.5.0.0/16" as Prefix],
  routeLink: "eth0",
};

function policy(destination: string, reqid = 11): XfrmPolicy {
  return {
    kind: "xfrm-policy",
    direction: "out",
    source: "10.5.1.0/24" as Prefix,
    destination: destination as Prefix,
    tunnel: { source: "192.0.2.1" as IpAddress, destination: "192.0.2.2" as IpAddress, reqid },
  };
}

function kernelWith(...policies: XfrmPolicy[]): FakeKernel {
  const kernel = new FakeKernel();
  for (const one of policies) kernel.table.set(resourceKey(one), one);
  return kernel;
}

test("policies of ours go, those of others and those of the ipsec backend itself stay", async () => {
  const [ours, foreign, outside] = [
    policy("10.5.2.0/24"),
    policy("10.5.3.0/24", 12),
    policy("10.6.2.0/24"),
  ];
  const kernel = kernelWith(ours, foreign, outside);
  const { log, records } = collectingLog();
  await clearLeftovers({
    kernel,
    ownership: { ...OWNERSHIP, extraKinds: ["xfrm-policy"] },
    log,
  });
  expect(kernel.table.size).toBe(3);
  await clearLeftovers({ kernel, ownership: OWNERSHIP, log });
  expect([...kernel.table.values()]).toEqual([foreign, outside]);
  expect(records).toHaveLength(1);
});

test("a policy that cannot be removed is named with the command", async () => {
  const kernel = kernelWith(policy("10.5.2.0/24"));
  kernel.refuse = () => "EPERM";
  const { log, records } = collectingLog();
  await clearLeftovers({ kernel, ownership: OWNERSHIP, log });
  expect(records[0]?.msg).toContain(
    '"ip xfrm policy delete src 10.5.1.0/24 dst 10.5.2.0/24 dir out"',
  );
});

test("tables that cannot be read are a warning, not the end", async () => {
  const kernel = new FakeKernel();
  kernel.dump = () => Promise.reject(new KernelError("read the xfrm policy table", "EPERM"));
  const { log, records } = collectingLog();
  await clearLeftovers({ kernel, ownership: OWNERSHIP, log });
  expect(records).toHaveLength(1);
  expect(records[0]?.msg).toContain("EPERM");
});
