import { describe, expect, test } from "bun:test";
import {
  type Backend,
  type PeerReachability,
  UNKNOWN_REACHABILITY,
} from "../../../../src/overlay/backend.ts";
import { InvalidPeerError } from "../../../../src/overlay/peer_lease.ts";
import ipip from "../../../../src/backend/ipip/ipip.ts";
import { NO_MAC, type Resource } from "../../../../src/state/resource.ts";
import { isOurs } from "../../../../src/state/ownership.ts";
import { FakeKernel } from "../../../support/fake_kernel.ts";
import { expectLeaseDataIgnored } from "../../../support/lease_data.ts";
import { backendHost, config, external, HOST, ip, lease } from "../../../support/sample_network.ts";
import { stateText } from "../../../support/state_text.ts";

const DIRECT: PeerReachability = { direct: { 4: true }, path: {} };
const FAR: PeerReachability = { direct: { 4: false }, path: {} };
const INPUT = { own: lease(1, "ipip", [4]), external: external([4]) };

async function prepare(
  options: Record<string, unknown> = {},
  { kernel = hostKernel(), ...more }: Parameters<typeof backendHost>[2] & {
    kernel?: FakeKernel;
  } = {},
): Promise<Backend> {
  return await ipip.prepare(backendHost(kernel, config("ipip", [4], options), more));
}

function hostKernel(...more: readonly Resource[]): FakeKernel {
  const kernel = new FakeKernel();
  kernel.seed(...HOST, ...more);
  return kernel;
}

function desired(backend: Backend, facts = UNKNOWN_REACHABILITY): string {
  const peers = [2, 3].map((n) => lease(n, "ipip", [4]));
  return stateText([
    ...backend.node(INPUT),
    ...peers.flatMap((peer) => backend.peer(peer, INPUT, facts)),
  ]);
}

describe("ipip", () => {
  test("holds", async () => {
    const backend = await prepare();
    expect(desired(backend)).toBe(`\
link flannel.ipip: mtu 1480 state up type ipip local 192.168.0.1
addr 10.5.1.0/32 dev flannel.ipip
route 10.5.2.0/24 via 192.168.0.2 dev flannel.ipip proto 70 onlink
route 10.5.3.0/24 via 192.168.0.3 dev flannel.ipip proto 70 onlink
`);
    expect(backend.mtuBytes(external([4]))).toBe(1480);
    expect(backend.needsReachability).toBe(false);
    const ownership = backend.ownership(external([4]));
    expect(backend.node(INPUT).every((resource) => isOurs(resource, ownership))).toBe(true);
  });

  test("names its type, owns only tunnels, and rejects invalid options", async () => {
    const backend = await prepare();
    expect(backend.type).toBe("ipip");
    expect([...backend.ownership(external([4])).linkTypes]).toEqual(["ipip"]);
    const check = (network: ReturnType<typeof config>) => () =>
      ipip.checkConfig(network, { warn: () => {} });
    expect(check(config("ipip", [4]))).not.toThrow();
    expect(check(config("ipip", [4], { DirectRouting: 1 }))).toThrow("must be true or false");
  });

  test("holds, with DirectRouting, a plain route to a peer that needs no gateway", async () => {
    const backend = await prepare({ directrouting: true });
    expect(backend.needsReachability).toBe(true);
    const [peer] = backend.peer(lease(2, "ipip", [4]), INPUT, DIRECT);
    expect(stateText([peer as Resource])).toBe(
      "route 10.5.2.0/24 via 192.168.0.2 dev eth0 proto 70\n",
    );
    expect(isOurs(peer as Resource, backend.ownership(external([4])))).toBe(true);
    expect(desired(backend, FAR)).toContain("10.5.2.0/24 via 192.168.0.2 dev flannel.ipip");
  });

  test("has no route to a peer without an IPv4 subnet", async () => {
    expect((await prepare()).peer(lease(2, "ipip", []), INPUT, FAR)).toEqual([]);
  });

  test("ignores the reachability of a peer without DirectRouting", async () => {
    expect(desired(await prepare(), DIRECT)).toContain("dev flannel.ipip proto 70 onlink");
  });

  test("advertises its type and no data", async () => {
    expect((await prepare()).attributes as unknown).toEqual({
      publicAddresses: { 4: "192.168.0.1" },
      backendType: "ipip",
      backendData: {},
    });
  });

  test("sends from the address on which it receives, also after that has changed", async () => {
    const backend = await prepare();
    for (const address of ["192.168.0.1", "203.0.113.9"]) {
      const sourceAddresses = { 4: ip(address) };
      const node = backend.node({ ...INPUT, external: { ...external([4]), sourceAddresses } });
      expect(stateText(node)).toContain(`local ${address}`);
    }
  });

  test("deletes the tunnel of the udp backend from an earlier run, with its port", async () => {
    const former = {
      kind: "link",
      type: "ipip",
      name: "flannel0",
      mtuBytes: 1472,
      mac: NO_MAC,
      up: true,
      local: ip("192.168.0.1"),
      fouPort: 8285,
    } as const;
    const kernel = hostKernel(former, { kind: "fou", port: 8285, protocol: 4 });
    await prepare({}, { kernel });
    expect(kernel.text(({ kind }) => kind === "link" || kind === "fou")).not.toContain("8285");
  });

  test("fails if the tunnel of the udp backend cannot be deleted", async () => {
    const device = { name: "flannel0", mtuBytes: 1472, mac: NO_MAC, up: true } as const;
    const kernel = hostKernel({ kind: "link", type: "ipip", local: ip("192.168.0.1"), ...device });
    kernel.refuse = ({ op }) => op === "delete" ? "EPERM" : undefined;
    await expect(prepare({}, { kernel })).rejects.toThrow("EPERM");
  });

  test.each(
    [
      ["is something else", { type: "tun" }],
      ["sends from another address", { type: "ipip", local: ip("192.168.0.77"), fouPort: 8285 }],
    ] as const,
  )("leaves a device of the udp backend's name that %s", async (_name, attributes) => {
    const device = { name: "flannel0", mtuBytes: 1472, mac: NO_MAC, up: true, ...attributes };
    const kernel = hostKernel({ kind: "link", ...device });
    await prepare({}, { kernel });
    expect(kernel.asked).toEqual([]);
  });

  test("rejects to replace the udp backend's tunnel of another network", async () => {
    const device = { name: "flannel0", mtuBytes: 1472, mac: NO_MAC, up: true } as const;
    const address = { kind: "address", link: "flannel0", prefixLength: 32 } as const;
    const kernel = hostKernel(
      { kind: "link", type: "ipip", local: ip("192.168.0.1"), fouPort: 8285, ...device },
      { ...address, address: ip("10.77.1.0") },
    );
    await expect(prepare({}, { kernel })).rejects.toThrow(
      "device flannel0 with address 10.77.1.0 is a tunnel from 192.168.0.1 for another network, " +
        "and the kernel allows only one from each address; if no other daemon uses it, run " +
        '"ip link delete flannel0"',
    );
    expect(kernel.asked).toEqual([]);
  });

  test("replaces the udp backend's tunnel if it has an address of this network", async () => {
    const device = { name: "flannel0", mtuBytes: 1472, mac: NO_MAC, up: true } as const;
    const address = { kind: "address", link: "flannel0", prefixLength: 32 } as const;
    const kernel = hostKernel(
      { kind: "link", type: "ipip", local: ip("192.168.0.1"), ...device },
      { ...address, address: ip("10.77.1.0") },
      { ...address, address: ip("10.5.1.0") },
      { ...address, link: "eth0", address: ip("10.88.1.0") },
    );
    await prepare({}, { kernel });
    expect(kernel.asked).toEqual([
      "delete link flannel0: mtu 1472 state up type ipip local 192.168.0.1",
    ]);
  });

  test("ignores the addresses of other devices when it removes a tunnel", async () => {
    const device = { name: "flannel0", mtuBytes: 1472, mac: NO_MAC, up: true } as const;
    const kernel = hostKernel(
      { kind: "link", type: "ipip", local: ip("192.168.0.1"), ...device },
      { kind: "address", link: "eth0", address: ip("10.88.1.0"), prefixLength: 24 },
    );
    await prepare({}, { kernel });
    expect(kernel.asked).toHaveLength(1);
  });

  test.each([
    [
      { DirectRouting: "yes" },
      'DirectRouting in the network configuration\'s Backend object is "yes"',
    ],
    [{ DirectRouting: 1 }, "it must be true or false"],
  ])("rejects %p", async (options, message) => {
    await expect(prepare(options)).rejects.toThrow(message);
  });

  test("ignores a peer of another backend, and one without an address", async () => {
    const backend = await prepare();
    expect(() => backend.peer(lease(2, "", [4]), INPUT, UNKNOWN_REACHABILITY)).toThrow(
      "its backend is not named, this node's is ipip",
    );
    const peer = lease(2, "ipip", [4]);
    const nowhere = { ...peer, attributes: { ...peer.attributes, publicAddresses: {} } };
    expect(() => backend.peer(nowhere, INPUT, UNKNOWN_REACHABILITY)).toThrow(InvalidPeerError);
    const advertised = { ...external([4]), publicAddresses: { 4: ip("203.0.113.9") } };
    for (const own of [...Object.values(advertised.addresses), ip("203.0.113.9")]) {
      const here = { ...peer, attributes: { ...peer.attributes, publicAddresses: { 4: own } } };
      expect(() => backend.peer(here, { ...INPUT, external: advertised }, UNKNOWN_REACHABILITY))
        .toThrow(
          `its public address ${own} is this node's own and cannot be the remote end of a tunnel`,
        );
    }
  });

  test("any lease data gives the one route to the peer's subnet", async () => {
    expectLeaseDataIgnored(await prepare(), lease(2, "ipip", [4]), INPUT);
  });
});
