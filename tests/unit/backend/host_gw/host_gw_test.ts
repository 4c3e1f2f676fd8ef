import { describe, expect, test } from "bun:test";
import type { Family } from "../../../../src/addr/ip.ts";
import type { Backend, PeerReachability } from "../../../../src/overlay/backend.ts";
import hostGw from "../../../../src/backend/host_gw/host_gw.ts";
import { isOurs } from "../../../../src/state/ownership.ts";
import { FakeKernel } from "../../../support/fake_kernel.ts";
import { backendHost, config, external, ip, lease } from "../../../support/sample_network.ts";
import { stateText } from "../../../support/state_text.ts";

const DUAL: readonly Family[] = [4, 6];
const NEAR: PeerReachability = {
  direct: { 4: true, 6: true },
  path: { 4: "dev eth0", 6: "dev eth0" },
};
const FAR: PeerReachability = {
  direct: { 4: false, 6: true },
  path: { 4: "via 192.168.0.254 dev eth0", 6: "dev eth0" },
};

function prepare(families: readonly Family[]): Promise<Backend> {
  return hostGw.prepare(backendHost(new FakeKernel(), config("host-gw", families)));
}

function input(families: readonly Family[]) {
  return { own: lease(1, "host-gw", families), external: external(families) };
}

describe("host-gw", () => {
  test("holds, in dual stack, a route via each peer's public address and no device", async () => {
    const backend = await prepare(DUAL);
    expect(backend.node(input(DUAL))).toEqual([]);
    const peers = [2, 3].flatMap((n) => backend.peer(lease(n, "host-gw", DUAL), input(DUAL), NEAR));
    expect(stateText(peers)).toBe(`\
route 10.5.2.0/24 via 192.168.0.2 dev eth0 proto 70
route 10.5.3.0/24 via 192.168.0.3 dev eth0 proto 70
route fc00:0:0:2::/64 via fd00::2 dev eth0 proto 70
route fc00:0:0:3::/64 via fd00::3 dev eth0 proto 70
`);
    expect(peers.every((route) => isOurs(route, backend.ownership(external(DUAL))))).toBe(true);
  });

  test("holds, with IPv6 alone, the IPv6 routes", async () => {
    const peer = lease(2, "host-gw", DUAL);
    expect(stateText((await prepare([6])).peer(peer, input([6]), NEAR))).toBe(
      "route fc00:0:0:2::/64 via fd00::2 dev eth0 proto 70\n",
    );
  });

  test("needs to know how each peer is reached", async () => {
    expect((await prepare([4])).needsReachability).toBe(true);
  });

  test("publishes the interface's MTU", async () => {
    expect((await prepare([4])).mtuBytes(external([4]))).toBe(1500);
  });

  test("makes no route to a peer behind a gateway, and names the gateway", async () => {
    const backend = await prepare(DUAL);
    const peer = lease(2, "host-gw", DUAL);
    expect(stateText(backend.peer(peer, input(DUAL), FAR))).toBe(
      "route fc00:0:0:2::/64 via fd00::2 dev eth0 proto 70\n",
    );
    expect(backend.peerProblem?.(peer, input(DUAL), FAR)).toBe(
      "cannot reach 10.5.2.0/24: 192.168.0.2 is not on the link of eth0 (its route: via " +
        "192.168.0.254 dev eth0), and host-gw needs all nodes on one link; use vxlan to cross " +
        "routers",
    );
    expect(backend.peerProblem?.(peer, input(DUAL), NEAR)).toBeUndefined();
  });

  test("reports each family of a peer that cannot be reached, but none that it lacks", async () => {
    const backend = await prepare(DUAL);
    const nowhere: PeerReachability = {
      direct: { 4: false, 6: false },
      path: { 6: "unreachable" },
    };
    const problem = backend.peerProblem?.(lease(2, "host-gw", DUAL), input(DUAL), nowhere);
    expect(problem).toContain("cannot reach 10.5.2.0/24: 192.168.0.2 is not on");
    expect(problem).toContain("(its route: unknown)");
    expect(problem).toContain("cross routers; cannot reach fc00:0:0:2::/64: fd00::2");
    const ipv6Only = lease(2, "host-gw", [6]);
    expect(backend.peerProblem?.(ipv6Only, input(DUAL), NEAR)).toBeUndefined();
    expect(backend.peerProblem?.(ipv6Only, input(DUAL), nowhere)).toStartWith(
      "cannot reach fc00:0:0:2::/64",
    );
    expect(backend.peer(ipv6Only, input(DUAL), NEAR)).toHaveLength(1);
  });

  test("rejects a public address that is not the interface's", async () => {
    const host = backendHost(new FakeKernel(), config("host-gw", [4]), {
      external: { ...external([4]), publicAddresses: { 4: ip("203.0.113.9") } },
    });
    await expect((async () => await hostGw.prepare(host))()).rejects.toThrow(
      "public address 203.0.113.9 is not the address 192.168.0.1 of eth0, and host-gw does not " +
        "work through address translation",
    );
  });

  test("reports that the host has lost its public address", async () => {
    const backend = await prepare([4]);
    expect(backend.externalProblem?.(external([4]))).toBeUndefined();
    const lost = { ...external([4]), sourceAddresses: { 4: ip("192.168.0.7") } };
    expect(backend.externalProblem?.(lost)).toBe(
      "public address 192.168.0.1, to which the other nodes send, is no longer an address of " +
        "this host; add it to eth0 again, or restart with another one (--public-ip, or the " +
        "node's annotation node-public-ip)",
    );
  });

  test("ignores a peer of another backend", async () => {
    const backend = await prepare([4]);
    expect(() => backend.peer(lease(2, "vxlan", [4]), input([4]), NEAR)).toThrow(
      "its backend is vxlan, this node's is host-gw",
    );
  });

  test("advertises its type and no data", async () => {
    expect((await prepare([4])).type).toBe("host-gw");
    expect((await prepare([4])).attributes as unknown).toEqual({
      publicAddresses: { 4: "192.168.0.1" },
      backendType: "host-gw",
      backendData: {},
    });
  });
});
