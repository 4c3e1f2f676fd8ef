import { expect, test } from "bun:test";
import alloc from "../../../../src/backend/alloc/alloc.ts";
import { UNKNOWN_REACHABILITY } from "../../../../src/overlay/backend.ts";
import { FakeKernel } from "../../../support/fake_kernel.ts";
import { backendHost, config, external, lease, prefix } from "../../../support/sample_network.ts";

test("alloc advertises the address without a type, and puts nothing into the kernel", async () => {
  const backend = await alloc.prepare(backendHost(new FakeKernel(), config("alloc", [4])));
  expect([backend.type, backend.needsReachability]).toEqual(["alloc", false]);
  expect(backend.attributes as unknown).toEqual({
    publicAddresses: { 4: "192.168.0.1" },
    backendType: "",
    backendData: {},
  });
  const input = { own: lease(1, "", [4]), external: external([4]) };
  expect(backend.node(input)).toEqual([]);
  expect(backend.peer(lease(2, "", [4]), input, UNKNOWN_REACHABILITY)).toEqual([]);
  expect(backend.ownership(external([4]))).toEqual({
    links: new Set(),
    linkTypes: new Set(),
    networks: [prefix("10.5.0.0/16")],
    routeLink: undefined,
  });
  expect(backend.mtuBytes(external([4]))).toBe(1500);
});
