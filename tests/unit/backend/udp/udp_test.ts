import { describe, expect, test } from "bun:test";
import { type Backend, UNKNOWN_REACHABILITY } from "../../../../src/overlay/backend.ts";
import { InvalidPeerError } from "../../../../src/overlay/peer_lease.ts";
import type { BackendTarget } from "../../../../src/overlay/backend_target.ts";
import { BackendError } from "../../../../src/overlay/backend_error.ts";
import { chooseDataPath } from "../../../../src/backend/udp/data_path.ts";
import { tunBackend } from "../../../../src/backend/udp/tun_backend.ts";
import udp from "../../../../src/backend/udp/udp.ts";
import { ConfigError } from "../../../../src/config/config_error.ts";
import { type IpipLink, NO_MAC, type Resource } from "../../../../src/state/resource.ts";
import { isOurs } from "../../../../src/state/ownership.ts";
import { FakeKernel } from "../../../support/fake_kernel.ts";
import { expectLeaseDataIgnored } from "../../../support/lease_data.ts";
import {
  backendHost,
  config,
  external,
  HOST,
  ip,
  lease,
  prefix,
} from "../../../support/sample_network.ts";
import { stateText } from "../../../support/state_text.ts";

const INPUT = { own: lease(1, "", [4]), external: external([4]) };

async function prepare(
  options: Record<string, unknown> = {},
  kernel = hostKernel(),
): Promise<Backend> {
  return await udp.prepare(backendHost(kernel, config("udp", [4], options)));
}

function hostKernel(...more: readonly Resource[]): FakeKernel {
  const kernel = new FakeKernel();
  kernel.seed(...HOST, ...more);
  return kernel;
}

function tunnel(name: string, changes: Partial<IpipLink> = {}): IpipLink {
  return {
    kind: "link",
    type: "ipip",
    name,
    mtuBytes: 1472,
    mac: NO_MAC,
    up: true,
    local: ip("192.168.0.1"),
    ...changes,
  };
}

/** A kernel without ipip devices. */
function kernelWithoutTunnels(): FakeKernel {
  const kernel = hostKernel();
  kernel.refuse = ({ op, resource }) =>
    op === "set" && resource.kind === "link" ? "EOPNOTSUPP" : undefined;
  return kernel;
}

describe("udp by FOU", () => {
  test("holds", async () => {
    const backend = await prepare();
    const peers = [2, 3].flatMap((n) =>
      backend.peer(lease(n, "", [4]), INPUT, UNKNOWN_REACHABILITY)
    );
    const all = [...backend.node(INPUT), ...peers];
    expect(stateText(all)).toBe(`\
link flannel0: mtu 1472 state up type ipip local 192.168.0.1 encap fou encap-sport 8285 \
encap-dport 8285
fou port 8285 ipproto 4
addr 10.5.1.0/32 dev flannel0
route 10.5.2.0/24 via 192.168.0.2 dev flannel0 proto 70 onlink
route 10.5.3.0/24 via 192.168.0.3 dev flannel0 proto 70 onlink
`);
    expect(backend.mtuBytes(external([4]))).toBe(1472);
    const ownership = backend.ownership(external([4]));
    expect(all.every((resource) => isOurs(resource, ownership))).toBe(true);
    expect(ownership.extraKinds).toEqual(["fou"]);
  });

  test("uses another configured port at both ends", async () => {
    const text = stateText((await prepare({ port: 9000 })).node(INPUT));
    expect(text).toContain("encap-sport 9000 encap-dport 9000");
    expect(text).toContain("fou port 9000 ipproto 4");
  });

  test("advertises no type and no data, like Go flannel", async () => {
    const backend = await prepare();
    expect(backend.type).toBe("udp");
    expect(backend.attributes as unknown).toEqual({
      publicAddresses: { 4: "192.168.0.1" },
      backendType: "",
      backendData: {},
    });
    expect(backend.target).toBeUndefined();
  });

  test("owns the port of the previous run, and no other", async () => {
    const kernel = hostKernel(tunnel("flannel0", { fouPort: 9000 }));
    const ownership = (await prepare({}, kernel)).ownership(external([4]));
    const isPortOurs = (port: number) => isOurs({ kind: "fou", port, protocol: 4 }, ownership);
    expect([8285, 9000, 9001].map(isPortOurs)).toEqual([true, true, false]);
    expect(isPortOurs(9000)).toBe(true);
    const fresh = (await prepare()).ownership(external([4]));
    expect(isOurs({ kind: "fou", port: 9000, protocol: 4 }, fresh)).toBe(false);
  });

  test("replaces the device of either data path, and no other", async () => {
    const { linkTypes } = (await prepare()).ownership(external([4]));
    expect([...linkTypes].sort()).toEqual(["ipip", "tun"]);
  });

  test("deletes the tunnel of an earlier run with the ipip backend", async () => {
    const kernel = hostKernel(tunnel("flannel.ipip"));
    await prepare({}, kernel);
    expect(kernel.text(({ kind }) => kind === "link")).not.toContain("flannel.ipip");
  });

  test("removes the device of the trial", async () => {
    const kernel = hostKernel();
    const before = kernel.text();
    await prepare({}, kernel);
    expect(kernel.text()).toBe(before);
    expect(kernel.asked.join("\n")).toContain("flannel-trial");
  });
});

describe("udp by a proxy", () => {
  const proxy = { name: "a target" } as unknown as BackendTarget;
  const setup = {
    port: 8285,
    network: prefix("10.5.0.0/16"),
    publicAddresses: { 4: ip("192.168.0.1") },
  };

  test("has a TUN device with a route for the whole network, and no entries for peers", () => {
    const backend = tunBackend({ ...setup, proxy });
    const all = backend.node(INPUT);
    expect(stateText(all)).toBe(`\
link flannel0: mtu 1472 state up type tun
addr 10.5.1.0/32 dev flannel0
route 10.5.0.0/16 dev flannel0 proto 70 scope link
`);
    const ownership = backend.ownership(external([4]));
    expect(all.every((resource) => isOurs(resource, ownership))).toBe(true);
    expect([...ownership.linkTypes].sort()).toEqual(["ipip", "tun"]);
    expect(backend.peer(lease(2, "", [4]), INPUT, UNKNOWN_REACHABILITY)).toEqual([]);
    expect(backend.target).toBe(proxy);
  });

  test("closes the previous port of the kernel, or fails", async () => {
    const host = (kernel: FakeKernel) =>
      backendHost(kernel, config("udp", [4]), { env: { FLANNELD_UDP_DATA_PATH: "tun" } });
    const kernel = hostKernel(
      tunnel("flannel0", { fouPort: 9000 }),
      { kind: "fou", port: 9000, protocol: 4 },
      { kind: "fou", port: 9001, protocol: 4 },
    );
    const backend = await udp.prepare(host(kernel));
    expect(kernel.text(({ kind }) => kind === "fou")).toBe("fou port 9001 ipproto 4\n");
    expect(backend.target?.problems()).toEqual(["the proxy has not started"]);
    const another = hostKernel(tunnel("flannel0", { fouPort: 9000 }));
    another.refuse = () => "EPERM";
    const refused = async () => await udp.prepare(host(another));
    await expect(refused()).rejects.toThrow("EPERM");
  });

  test("ignores a peer of another backend, and one without an address", () => {
    const backend = tunBackend({ ...setup, proxy });
    expect(() => backend.peer(lease(2, "ipip", [4]), INPUT, UNKNOWN_REACHABILITY)).toThrow(
      "is ipip",
    );
    const peer = lease(2, "", [4]);
    const nowhere = { ...peer, attributes: { ...peer.attributes, publicAddresses: {} } };
    expect(() => backend.peer(nowhere, INPUT, UNKNOWN_REACHABILITY)).toThrow(InvalidPeerError);
  });
});

describe("udp", () => {
  test.each([0, -1, 65536, 1.5, "8285", true])("refuses the port %p", async (Port) => {
    await expect(prepare({ Port })).rejects.toThrow(
      `Port in the network configuration's Backend object is ${JSON.stringify(Port)}; it must be ` +
        "an integer from 1 to 65535",
    );
  });

  test("ignores a peer of another backend, and one without an address", async () => {
    const backend = await prepare();
    expect(() => backend.peer(lease(2, "vxlan", [4]), INPUT, UNKNOWN_REACHABILITY)).toThrow(
      "its backend is vxlan",
    );
    const peer = lease(2, "", [4]);
    const nowhere = { ...peer, attributes: { ...peer.attributes, publicAddresses: {} } };
    expect(() => backend.peer(nowhere, INPUT, UNKNOWN_REACHABILITY)).toThrow(InvalidPeerError);
  });

  test("any lease data gives the one route to the peer's subnet", async () => {
    expectLeaseDataIgnored(await prepare(), lease(2, "", [4]), INPUT);
  });
});

describe("the data path", () => {
  const choose = (kernel: FakeKernel, wanted?: string, isLoaded = false) => {
    const loaded: string[] = [];
    const env = wanted === undefined ? {} : { FLANNELD_UDP_DATA_PATH: wanted };
    const host = backendHost(kernel, config("udp", [4]), { env });
    const chosen = chooseDataPath(host, (modules) => {
      loaded.push(...modules);
      if (isLoaded) kernel.refuse = () => undefined;
      return Promise.resolve(isLoaded);
    });
    return { chosen, loaded, logged: host.logged };
  };

  test("is the kernel's if it has FOU, without loading modules", async () => {
    const { chosen, loaded } = choose(hostKernel());
    expect(await chosen).toBe("fou");
    expect(loaded).toEqual([]);
  });

  test("is the kernel's if the modules can be loaded", async () => {
    const { chosen, loaded } = choose(kernelWithoutTunnels(), undefined, true);
    expect(await chosen).toBe("fou");
    expect(loaded).toEqual(["ipip", "fou"]);
  });

  test("is the proxy on kernels without FOU, and the log says how to load it", async () => {
    const { chosen, logged } = choose(kernelWithoutTunnels());
    expect(await chosen).toBe("tun");
    expect(logged.join("\n")).toMatch(/warning: .*no FOU .*EOPNOTSUPP.*modprobe -a ipip fou/);
  });

  test("is the one that is set", async () => {
    expect(await choose(hostKernel(), "TUN").chosen).toBe("tun");
    expect(await choose(hostKernel(), "fou").chosen).toBe("fou");
  });

  test("is refused if the kernel does not support it", async () => {
    const { chosen } = choose(kernelWithoutTunnels(), "fou");
    await expect(chosen).rejects.toThrow(BackendError);
    await expect(chosen).rejects.toThrow(
      'FLANNELD_UDP_DATA_PATH is "fou", but this kernel has no FOU',
    );
  });

  test("is refused if it is unknown", async () => {
    const { chosen } = choose(hostKernel(), "fuo");
    await expect(chosen).rejects.toThrow(ConfigError);
    await expect(chosen).rejects.toThrow('FLANNELD_UDP_DATA_PATH is "fuo"');
  });
});
