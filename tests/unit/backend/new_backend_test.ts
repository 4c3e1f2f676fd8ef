/** What it takes to add a backend: a descriptor, a module, and a line in the registry's table. */

import { describe, expect, test } from "bun:test";
import { readdirSync, readFileSync } from "node:fs";
import type { IpAddress } from "../../../src/addr/ip.ts";
import { BackendRegistry, BACKENDS } from "../../../src/backend/backend_registry.ts";
import { VXLAN } from "../../../src/backend/vxlan/vxlan_descriptor.ts";
import { booleanOption, readOptions } from "../../../src/config/option_schema.ts";
import { backendConfig, backendFaults } from "../../../src/lab/lab_backend.ts";
import { advertisedAddresses } from "../../../src/overlay/advertised_addresses.ts";
import type { BackendModule } from "../../../src/overlay/backend.ts";
import type { BackendDescriptor } from "../../../src/overlay/backend_descriptor.ts";
import { ipv4Network } from "../../../src/overlay/ipv4_network.ts";
import { nodeAddress } from "../../../src/overlay/node_entries.ts";
import { removeOrphans } from "../../../src/overlay/orphans.ts";
import { OverlayController } from "../../../src/overlay/overlay_controller.ts";
import { peerAddress, requireBackendType } from "../../../src/overlay/peer_lease.ts";
import { ReachabilitySource } from "../../../src/overlay/peer_reachability.ts";
import { peerRoute } from "../../../src/overlay/peer_route.ts";
import { Reconciler } from "../../../src/reconcile/reconciler.ts";
import { NO_MAC } from "../../../src/state/resource.ts";
import { linkOf } from "../../../src/state/resource_key.ts";
import type { Lease } from "../../../src/subnet/lease.ts";
import { FakeClock } from "../../support/fake_clock.ts";
import { FakeKernel } from "../../support/fake_kernel.ts";
import {
  backendHost,
  config,
  external,
  HOST,
  lease,
  prefix,
  warningsLog,
} from "../../support/sample_network.ts";

const ROOT = new URL("../../../", import.meta.url).pathname;
const SOURCES = (readdirSync(`${ROOT}src`, { recursive: true }) as string[])
  .filter((name) => name.endsWith(".ts")).map((name) => `src/${name}`);
const DESCRIPTOR_FILES = SOURCES.filter((file) =>
  file.startsWith("src/backend/") && file.endsWith("_descriptor.ts")
);

const OPTIONS = { Fast: booleanOption({ default: false }) };

/** A tunnel device of its own, and a route through it to each peer. */
const TOY_MODULE: BackendModule = {
  checkConfig: ({ backend }, log) => void readOptions(backend.options, OPTIONS, log),
  options: OPTIONS,
  mtuBytes: (_config, { mtuBytes }) => mtuBytes - 20,
  prepare(host) {
    const network = ipv4Network(host.config);
    const type = TOY.type;
    return Promise.resolve({
      type,
      attributes: {
        publicAddresses: advertisedAddresses(host),
        backendType: type,
        backendData: {},
      },
      needsReachability: false,
      ownership: ({ name }) => ({
        links: new Set(["flannel-toy"]),
        linkTypes: new Set(["ipip"]),
        networks: [network],
        routeLink: name,
      }),
      mtuBytes: ({ mtuBytes }) => mtuBytes - 20,
      node: ({ own, external }) => [
        {
          kind: "link",
          type: "ipip",
          name: "flannel-toy",
          mac: NO_MAC,
          up: true,
          mtuBytes: external.mtuBytes - 20,
          local: external.sourceAddresses[4] as IpAddress,
        },
        ...nodeAddress(own, "flannel-toy", 4),
      ],
      peer(peer) {
        requireBackendType(peer, type);
        const subnet = peer.subnets[4];
        if (subnet === undefined) return [];
        const gateway = peerAddress(peer, 4);
        return [peerRoute({ subnet, gateway, link: "flannel-toy", onlink: true })];
      },
    });
  },
};

const TOY: BackendDescriptor = {
  type: "toy",
  families: [4],
  connectsNodes: true,
  encrypts: false,
  isDeviceName: (name) => name === "flannel-toy",
  requiredSecret: "Password",
  lab: { oneOf: [{ features: [] }], options: () => ({ Fast: true }) },
  load: () => Promise.resolve(TOY_MODULE),
};

const REGISTRY = new BackendRegistry([TOY, VXLAN]);

describe("a backend that is only in a registry's table", () => {
  test("is found, checked and refused like any other", async () => {
    const log = warningsLog();
    expect(REGISTRY.find("TOY")).toBe(TOY);
    await REGISTRY.checkConfig(config("toy", [4], { Quick: true }), log);
    expect(log.lines).toEqual([expect.stringContaining('unknown key "Quick"')]);
    expect(() => REGISTRY.forNetwork(config("toy", [4, 6]))).toThrow(
      "the toy backend carries IPv4 only, and the network configuration has EnableIPv6; remove " +
        "it, or use vxlan",
    );
    expect(() => REGISTRY.forNetwork(config("toyy", [4]))).toThrow('did you mean "toy"?');
  });

  test("runs in a lab with the options that it asks for", async () => {
    expect(await backendFaults(TOY)).toEqual([]);
    expect(backendConfig(TOY, [4])).toEqual({ Type: "toy", Fast: true });
  });

  test("has its entries in the kernel as leases come and go", async () => {
    const node = await startNode();
    await using _cleanup = node.cleanup;
    const put = (one: Lease) => node.controller.applyChanges([{ kind: "put", lease: one }]);
    put(lease(2, "toy", [4]));
    put(lease(3, "vxlan", [4]));
    await node.clock.advance(1000);
    expect(node.text()).toBe(
      "link flannel-toy: mtu 1480 state up type ipip local 192.168.0.1\n" +
        "addr 10.5.1.0/32 dev flannel-toy\n" +
        "route 10.5.2.0/24 via 192.168.0.2 dev flannel-toy proto 70 onlink\n",
    );
    expect([...node.controller.status().ignored.values()]).toEqual([
      "its backend is vxlan, this node's is toy",
    ]);
    node.controller.applyChanges([{ kind: "delete", lease: lease(2, "toy", [4]) }]);
    await node.clock.advance(2000);
    expect(node.text()).not.toContain("10.5.2.0/24");
  });

  test("leaves a device that the next backend names", async () => {
    const node = await startNode();
    await using _cleanup = node.cleanup;
    await node.clock.advance(1000);
    const log = warningsLog();
    const vxlan = { links: new Set<string>(), linkTypes: new Set(["vxlan" as const]) };
    await removeOrphans({
      kernel: node.kernel,
      ownership: { ...vxlan, networks: [prefix("10.5.0.0/16")], routeLink: "eth0" },
      isBackendDevice: (name) => REGISTRY.isDeviceName(name),
      log,
    });
    expect(log.lines).toEqual([expect.stringContaining("ip link delete flannel-toy")]);
  });
});

async function startNode() {
  const clock = new FakeClock();
  const kernel = new FakeKernel();
  kernel.seed(...HOST);
  const log = warningsLog();
  const network = config("toy", [4]);
  const { prepare } = await REGISTRY.forNetwork(network).load();
  const backend = await prepare(backendHost(kernel, network));
  const ext = external([4]);
  const cleanup = new AsyncDisposableStack();
  const reconciler = cleanup.use(new Reconciler({ kernel, log, clock }));
  const reachability = cleanup.use(
    new ReachabilitySource({
      kernel,
      ownership: () => backend.ownership(ext),
      external: () => ext,
      onChanged: () => controller.reachabilityChanged(),
    }),
  );
  const controller: OverlayController = cleanup.use(
    new OverlayController({ backend, entryStore: reconciler, reachability, clock, log }, ext),
  );
  reconciler.start({ ownership: backend.ownership(ext), external: ext.name });
  reconciler.allowSweep();
  controller.ownChanged(lease(1, "toy", [4]));
  const text = () =>
    kernel.text((entry) =>
      linkOf(entry) === "flannel-toy" || entry.kind === "link" && entry.name === "flannel-toy"
    );
  return { clock, kernel, reconciler, controller, cleanup, text };
}

test("a descriptor loads nothing large: types, and where programs are", () => {
  const transpiler = new Bun.Transpiler({ loader: "ts" });
  const loaded = DESCRIPTOR_FILES.flatMap((file) =>
    transpiler.scanImports(readFileSync(`${ROOT}${file}`, "utf8"))
      .filter(({ kind }) => kind === "import-statement").map(({ path }) => path)
  );
  expect(DESCRIPTOR_FILES).toHaveLength(BACKENDS.types.length);
  expect(new Set(loaded)).toEqual(new Set(["../../process/program_lookup.ts"]));
});

describe("the type of a backend", () => {
  const lower = /^src\/(kernel|state|reconcile|process)\//;

  /** Other files below `src` that have the same word, for a type of device, for example. */
  const OTHER_MEANINGS: Readonly<Record<string, readonly string[]>> = {
    extension: ["src/kube/exec_plugin_config.ts"], // A member of a kubeconfig.
    ipip: [
      "src/backend/ipip/ipip.ts",
      "src/backend/ipip/ipip_tunnel.ts",
      "src/backend/udp/fou_support.ts",
      "src/backend/udp/udp.ts",
      "src/backend/udp/udp_setup.ts",
      "src/lab/kernel_features.ts",
      "src/overlay/backend_descriptor.ts",
      "src/overlay/orphans.ts",
    ],
    vxlan: [
      "src/backend/vxlan/vxlan.ts",
      "src/config/network_config.ts", // The default.
      "src/lab/kernel_features.ts",
      "src/overlay/backend_descriptor.ts",
    ],
    wireguard: [
      "src/backend/wireguard/wireguard.ts",
      "src/lab/kernel_features.ts",
      "src/overlay/backend_descriptor.ts",
    ],
  };

  test.each(BACKENDS.types)("%s is written only in its descriptor", (type) => {
    const name = type.replace("-", "_");
    const naming = SOURCES.filter((file) => {
      if (lower.test(file)) return false;
      const code = readFileSync(`${ROOT}${file}`, "utf8").replace(/^\s*(\/?\*|\/\/).*$/gm, "");
      return code.includes(`"${type}"`);
    });
    const descriptor = `src/backend/${name}/${name}_descriptor.ts`;
    expect(naming.sort()).toEqual([descriptor, ...OTHER_MEANINGS[type] ?? []].sort());
  });
});
