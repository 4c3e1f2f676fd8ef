import { describe, expect, spyOn, test } from "bun:test";
import type { IpAddress } from "../../../src/addr/ip.ts";
import type { Prefix } from "../../../src/addr/prefix.ts";
import { removeOrphans } from "../../../src/overlay/orphans.ts";
import { peerRoute } from "../../../src/overlay/peer_route.ts";
import { KernelError } from "../../../src/kernel/kernel.ts";
import type { Ownership } from "../../../src/state/ownership.ts";
import { resourceKey } from "../../../src/state/resource_key.ts";
import {
  NO_MAC,
  type Resource,
  type Route,
  type TunLink,
  type XfrmPolicy,
} from "../../../src/state/resource.ts";
import { BACKENDS } from "../../../src/backend/backend_registry.ts";
import { collectingLog } from "../../support/collecting_log.ts";
import { FakeKernel } from "../../support/fake_kernel.ts";
import { ip } from "../../support/sample_network.ts";

const isBackendDevice = (name: string) => BACKENDS.isDeviceName(name);

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

function device(name: string): TunLink {
  return { kind: "link", type: "tun", name, mtuBytes: 1400, mac: NO_MAC, up: true };
}

function address(link: string, text: string): Resource {
  return { kind: "address", link, address: ip(text), prefixLength: 32 };
}

function route(link: string, destination: string, changes: Partial<Route> = {}): Route {
  const made = peerRoute({
    subnet: destination as Prefix,
    gateway: ip("192.0.2.2"),
    link,
    onlink: true,
  });
  return { ...made, ...changes };
}

test("removes our policies, but not other programs' or the ipsec backend's own", async () => {
  const [ours, foreign, outside] = [
    policy("10.5.2.0/24"),
    policy("10.5.3.0/24", 12),
    policy("10.6.2.0/24"),
  ];
  const kernel = kernelWith(ours, foreign, outside);
  const { log, records } = collectingLog();
  await removeOrphans({
    kernel,
    isBackendDevice,
    ownership: { ...OWNERSHIP, extraKinds: ["xfrm-policy"] },
    log,
  });
  expect(kernel.table.size).toBe(3);
  await removeOrphans({ kernel, isBackendDevice, ownership: OWNERSHIP, log });
  expect([...kernel.table.values()]).toEqual([foreign, outside]);
  expect(records.map(({ level, msg }) => [level, msg])).toEqual([
    [
      "info",
      expect.stringMatching(
        /^removed 1 IPsec policies of a previous run .* ipsec backend($|; charon is still running)/,
      ),
    ],
  ]);
});

describe("a device of the previous backend in this network is left and logged", () => {
  const named = async (...resources: Resource[]) => {
    const kernel = new FakeKernel();
    kernel.seed(...resources);
    const { log, records } = collectingLog();
    await removeOrphans({ kernel, isBackendDevice, ownership: OWNERSHIP, log });
    expect(kernel.asked).toEqual([]);
    return records.map(({ msg }) => msg);
  };

  test("with its routes, the first three of them", async () => {
    const routes = [2, 3, 4, 5].map((n) => route("flannel-wg", `10.5.${n}.0/24`));
    expect(await named(device("flannel-wg"), ...routes)).toEqual([
      "device flannel-wg of the previous backend is still in this network: its routes " +
      "(10.5.2.0/24, 10.5.3.0/24, 10.5.4.0/24 and 1 more) divert packets; " +
      'run "ip link delete flannel-wg"',
    ]);
  });

  test("with exactly three routes, each device with its own", async () => {
    const lines = await named(
      ...["flannel-wg", "flannel.7", "flannel-v6.7"].map(device),
      ...[2, 3, 4].map((n) => route("flannel-wg", `10.5.${n}.0/24`)),
      route("flannel.7", "10.5.9.0/24"),
    );
    expect(lines.map((line) => line.replace(/ of the previous .* network/, ""))).toEqual([
      "device flannel-wg: its routes (10.5.2.0/24, 10.5.3.0/24, 10.5.4.0/24) divert packets; " +
      'run "ip link delete flannel-wg"',
      "device flannel.7: its routes (10.5.9.0/24) divert packets; " +
      'run "ip link delete flannel.7"',
    ]);
  });

  test("where any of this network's families has its entry", async () => {
    const kernel = new FakeKernel();
    kernel.seed(device("flannel.7"), address("flannel.7", "10.5.7.0"));
    const { log, records } = collectingLog();
    const networks = ["fc00::/48" as Prefix, "10.5.0.0/16" as Prefix];
    await removeOrphans({ kernel, isBackendDevice, ownership: { ...OWNERSHIP, networks }, log });
    expect(records).toHaveLength(1);
  });

  test("as a tunnel of the ipip backend, which has no port", async () => {
    const tunnel = { ...device("flannel.ipip"), type: "ipip", local: ip("192.0.2.1") } as const;
    expect(await named(tunnel, address("flannel.ipip", "10.5.7.0"))).toEqual([
      expect.stringMatching(/run "ip link delete flannel\.ipip"$/),
    ]);
  });

  test("with its address, and with its port if it is a tunnel in UDP", async () => {
    const tunnel = {
      ...device("flannel0"),
      type: "ipip",
      local: ip("192.0.2.1"),
      fouPort: 9000,
    } as const;
    expect(await named(tunnel, address("flannel0", "10.5.7.0"))).toEqual([
      "device flannel0 of the previous backend is still in this network: it still receives " +
      'packets; run "ip link delete flannel0; ip fou del port 9000 ipproto 4"',
    ]);
  });

  test("unless it is ours, in another network, or of another name", async () => {
    const [own, elsewhere, foreign] = ["flannel.1", "flannel.2", "flannelette"] as const;
    const others = ["flannel07", "my-flannel.1", "flannel"];
    expect(
      await named(
        ...[own, elsewhere, foreign].map(device),
        address(own, "10.5.7.0"),
        address(elsewhere, "10.6.7.0"),
        route(elsewhere, "10.6.8.0/24"),
        address(foreign, "10.5.9.0"),
        ...others.flatMap((name) => [device(name), address(name, "10.5.11.0")]),
      ),
    ).toEqual([]);
  });

  test("unless there is no such device: then no addresses and routes are read", async () => {
    const kernel = new FakeKernel();
    kernel.seed(device("flannel.1"), address("flannel.1", "10.5.7.0"));
    const dump = spyOn(kernel, "dump");
    const { log, records } = collectingLog();
    await removeOrphans({ kernel, isBackendDevice, ownership: OWNERSHIP, log });
    expect(dump.mock.calls.map(([kinds]) => kinds)).toEqual([["xfrm-policy"], ["link"]]);
    expect(records).toEqual([]);
  });

  test("unless the kernel made its only route, or another table has it", async () => {
    const routes = [
      route("flannel-wg", "10.5.2.0/24", { protocol: 2 }), // RTPROT_KERNEL
      route("flannel-wg", "10.5.3.0/24", { table: 255 }), // RT_TABLE_LOCAL
    ];
    expect(await named(device("flannel-wg"), ...routes)).toEqual([]);
  });
});

test("a policy that cannot be removed is logged with the command that removes it", async () => {
  const kernel = kernelWith(policy("10.5.2.0/24"));
  kernel.refuse = () => "EPERM";
  const { log, records } = collectingLog();
  await removeOrphans({ kernel, isBackendDevice, ownership: OWNERSHIP, log });
  expect(records[0]?.level).toBe("error");
  expect(records[0]?.msg).toStartWith("cannot remove an IPsec policy of a previous run");
  expect(records[0]?.msg).toContain("EPERM");
  expect(records[0]?.msg).toContain(
    '"ip xfrm policy delete src 10.5.1.0/24 dst 10.5.2.0/24 dir out"',
  );
});

test("tables that cannot be read cause a warning and no error", async () => {
  const kernel = new FakeKernel();
  kernel.dump = () =>
    Promise.reject(new KernelError({ operation: "read the xfrm policy table", errno: "EPERM" }));
  const { log, records } = collectingLog();
  await removeOrphans({ kernel, isBackendDevice, ownership: OWNERSHIP, log });
  expect(records).toHaveLength(1);
  expect(records[0]?.msg).toContain("EPERM");
});
