/** The Helm chart: what it renders for the values of flannel's chart, and what it refuses. */

import { describe, expect, test } from "bun:test";
import type { KubeObject } from "../../src/lab/kube/lab_manifest.ts";
import { BACKENDS } from "../../src/backend/backend_registry.ts";
import { type NetworkConfig, parseNetworkConfig } from "../../src/config/network_config.ts";
import { CHART, helm, renderChart, renderChartText } from "../support/helm.ts";
import {
  type ClusterRole,
  configFile,
  type DaemonSet,
  IMAGE_PLACEHOLDER,
  manifestObjects,
  objectOfKind,
  podSpec,
} from "../support/kube_manifest.ts";

/** Rendering takes a second of processor time. */
const TIMEOUT_MS = 60_000;

const V4 = "10.244.0.0/16";
const V6 = "2001:cafe:42::/56";

test("helm lint finds nothing to correct", async () => {
  const { exitCode, stdout } = await helm(["lint", "--strict", CHART]);
  expect(stdout).toContain("1 chart(s) linted, 0 chart(s) failed");
  expect(stdout).not.toMatch(/WARNING|ERROR/);
  expect(exitCode).toBe(0);
}, TIMEOUT_MS);

test(
  "with its defaults it is the manifest, without the namespace, which Helm creates",
  async () => {
    const rendered = await renderChart();
    const manifest = manifestObjects().filter(({ kind }) => kind !== "Namespace");
    expect(comparable(rendered)).toEqual(comparable(manifest));
  },
  TIMEOUT_MS,
);

/** By kind; the JSON in the ConfigMap as values, because its layout differs. */
function comparable(objects: readonly KubeObject[]): Record<string, unknown> {
  return Object.fromEntries(objects.map((object) => {
    if (object.kind !== "ConfigMap") return [object.kind, object];
    const names = ["net-conf.json", "cni-conf.json"] as const;
    const data = names.map((name) => [name, JSON.parse(configFile(objects, name))]);
    return [object.kind, { ...object, data: Object.fromEntries(data) }];
  }));
}

interface NetConfCase {
  readonly title: string;
  readonly values: { readonly flannel?: object; readonly podCidr?: string; podCidrv6?: string };
  readonly netConf: object;
}

const NET_CONF_CASES: readonly NetConfCase[] = [
  {
    title: "vxlan with all of its options",
    values: {
      flannel: {
        backendPort: 4789,
        mtu: 1400,
        // Written as a float, it would be 1e+06, which is not an integer.
        vni: 1000000,
        GBP: true,
        directRouting: true,
        macPrefix: "0E-2A",
      },
    },
    netConf: {
      Network: V4,
      EnableNFTables: false,
      Backend: {
        Type: "vxlan",
        Port: 4789,
        MTU: 1400,
        VNI: 1000000,
        GBP: true,
        DirectRouting: true,
        MacPrefix: "0E-2A",
      },
    },
  },
  {
    title: "zeros, which stand for the defaults",
    values: { flannel: { backendPort: 0, mtu: 0, vni: 0, GBP: false, psk: 0 } },
    netConf: { Network: V4, EnableNFTables: false, Backend: { Type: "vxlan" } },
  },
  {
    title: "nulls, which remove a default",
    values: { flannel: { backendPort: null, mtu: null, tolerations: null, resources: null } },
    netConf: { Network: V4, EnableNFTables: false, Backend: { Type: "vxlan" } },
  },
  {
    title: "wireguard with all of its options; the mode is quoted",
    values: {
      podCidrv6: V6,
      flannel: {
        backend: "wireguard",
        backendPort: 51000,
        backendPortv6: 51001,
        psk: "dGhpcyBpcyBhIHBzayBvZiAzMiBieXRlcyBsb25nISE=",
        mtu: 1380,
        tunnelMode: "auto",
        keepaliveInterval: 25,
      },
    },
    netConf: {
      Network: V4,
      EnableIPv6: true,
      IPv6Network: V6,
      EnableNFTables: false,
      Backend: {
        Type: "wireguard",
        ListenPort: 51000,
        ListenPortV6: 51001,
        PSK: "dGhpcyBpcyBhIHBzayBvZiAzMiBieXRlcyBsb25nISE=",
        MTU: 1380,
        Mode: "auto",
        PersistentKeepaliveInterval: 25,
      },
    },
  },
  {
    title: "IPv6 only",
    values: { podCidr: "", podCidrv6: V6, flannel: { enableNFTables: true } },
    netConf: {
      EnableIPv4: false,
      EnableIPv6: true,
      IPv6Network: V6,
      EnableNFTables: true,
      Backend: { Type: "vxlan" },
    },
  },
  {
    title: "udp",
    values: { flannel: { backend: "udp", backendPort: 8300 } },
    netConf: { Network: V4, EnableNFTables: false, Backend: { Type: "udp", Port: 8300 } },
  },
  {
    title: "ipip, with direct routing, which flannel's chart drops",
    values: { flannel: { backend: "ipip", directRouting: true } },
    netConf: { Network: V4, EnableNFTables: false, Backend: { Type: "ipip", DirectRouting: true } },
  },
  {
    title: "ipsec, with an option that has no value of its own",
    values: {
      flannel: {
        backend: "ipsec",
        psk: "0123456789".repeat(10),
        backendOptions: { UDPEncap: true },
      },
    },
    netConf: {
      Network: V4,
      EnableNFTables: false,
      Backend: { Type: "ipsec", PSK: "0123456789".repeat(10), UDPEncap: true },
    },
  },
  {
    title: "host-gw, which has none of the options",
    values: { flannel: { backend: "host-gw", vni: 7, mtu: 1400 } },
    netConf: { Network: V4, EnableNFTables: false, Backend: { Type: "host-gw" } },
  },
  {
    title: "extension, with commands that contain quotes and braces",
    values: {
      flannel: {
        backend: "extension",
        mtu: 1400,
        backendOptions: { SubnetAddCommand: `ip route replace "$SUBNET" via '{{ x }}'` },
      },
    },
    netConf: {
      Network: V4,
      EnableNFTables: false,
      Backend: {
        Type: "extension",
        MTU: 1400,
        SubnetAddCommand: `ip route replace "$SUBNET" via '{{ x }}'`,
      },
    },
  },
];

describe("net-conf.json", () => {
  test.each(NET_CONF_CASES)("with $title is one that flanneld accepts", async (one) => {
    const objects = await renderChart(one.values);
    const text = configFile(objects, "net-conf.json");
    expect(JSON.parse(text)).toEqual(one.netConf);
    const config = await accepted(text);
    expect(config.enableNftables).toBe(
      one.values.flannel !== undefined &&
        "enableNFTables" in one.values.flannel,
    );
  }, TIMEOUT_MS);

  test("has the type of each backend that the schema allows", async () => {
    const { definitions: _, properties } = await Bun.file(`${CHART}/values.schema.json`).json();
    const allowed = properties.flannel.properties.backend.enum as string[];
    expect(allowed.toSorted()).toEqual([...BACKENDS.types].sort());
  });
});

/** As the daemon reads it. Throws, or fails, for what would log an error or a warning. */
async function accepted(text: string): Promise<NetworkConfig> {
  const warnings: string[] = [];
  const warn = (message: string | object) => void warnings.push(String(message));
  const source = "net-conf.json";
  const config = parseNetworkConfig(text, { source, warn, allocation: "kubernetes" });
  await BACKENDS.checkConfig(config, { warn });
  // Only nodes with Windows use it.
  expect(warnings.filter((warning) => !warning.includes("MacPrefix"))).toEqual([]);
  return config;
}

describe("the DaemonSet", () => {
  test("has the images, flags, secrets, tolerations and nodes of the values", async () => {
    const pod = podSpec(
      await renderChart({
        global: { imagePullSecrets: [{ name: "a-secret" }] },
        flannel: {
          image: { tag: "v7.7.7@sha256:00" },
          args: ["--kube-subnet-mgr", "--iface=eth1", `--iface-regex=^a"b$`],
          tolerations: [{ operator: "Exists" }],
          nodeSelector: { "node.example/kind": "true" },
          resources: { limits: { memory: "200Mi" } },
        },
      }),
    );
    const image = `${IMAGE_PLACEHOLDER}:v7.7.7@sha256:00`;
    expect([...pod.initContainers, ...pod.containers].map((one) => one.image))
      .toEqual([image, image, image]);
    expect(pod.containers[0]?.args)
      .toEqual(["--kube-subnet-mgr", "--iface=eth1", `--iface-regex=^a"b$`, "--healthz-port=8081"]);
    expect(pod.imagePullSecrets).toEqual([{ name: "a-secret" }]);
    expect(pod.tolerations).toEqual([{ operator: "Exists" }]);
    expect(pod.nodeSelector).toEqual({ "node.example/kind": "true" });
    // The value adds to the requests of the default, as Helm merges objects.
    expect(pod.containers[0]?.resources).toMatchObject({ limits: { memory: "200Mi" } });
  }, TIMEOUT_MS);

  test("takes the CNI plugin from another image if there is one", async () => {
    const flannel = { flannel_cni: { image: { repository: "other.example/cni", tag: "v1" } } };
    const plugin = podSpec(await renderChart({ flannel })).initContainers[0];
    expect(plugin).toMatchObject({
      name: "install-cni-plugin",
      image: "other.example/cni:v1",
      command: ["cp"],
      args: ["-f", "/flannel", "/opt/cni/bin/flannel"],
    });
  }, TIMEOUT_MS);

  test("writes no CNI configuration if another program does", async () => {
    const pod = podSpec(await renderChart({ flannel: { skipCNIConfigInstallation: true } }));
    expect(pod.initContainers.map(({ name }) => name)).toEqual(["install-cni-plugin"]);
  }, TIMEOUT_MS);

  test("installs into the directories of the values", async () => {
    const flannel = { cniBinDir: "/var/lib/cni/bin", cniConfDir: "/var/lib/cni/net.d" };
    const { volumes } = podSpec(await renderChart({ flannel }));
    const paths = Object.fromEntries(volumes.map(({ name, hostPath }) => [name, hostPath?.path]));
    expect(paths).toMatchObject({ "cni-plugin": flannel.cniBinDir, cni: flannel.cniConfDir });
  }, TIMEOUT_MS);

  test("has no probes, port and flag without a health port", async () => {
    const [container] =
      podSpec(await renderChart({ flannel: { healthz: { port: 0 } } })).containers;
    expect(container?.args).toEqual(["--ip-masq", "--kube-subnet-mgr"]);
    expect(container).not.toHaveProperty("ports");
    expect(container).not.toHaveProperty("livenessProbe");
    expect(container).not.toHaveProperty("readinessProbe");
  }, TIMEOUT_MS);

  test("has the capability for port 500 with ipsec", async () => {
    const flannel = { backend: "ipsec", psk: "0123456789".repeat(10) };
    expect(podSpec(await renderChart({ flannel })).containers[0]?.securityContext.capabilities)
      .toEqual({ drop: ["ALL"], add: ["NET_ADMIN", "NET_RAW", "NET_BIND_SERVICE"] });
  }, TIMEOUT_MS);

  test("has the second container, with its rights, only for network policies", async () => {
    const netpol = { enabled: true, image: { repository: "other.example/netpol" } };
    const objects = await renderChart({ netpol });
    const { containers, volumes } = podSpec(objects);
    expect(containers.map(({ name, image }) => [name, image])).toEqual([
      ["kube-flannel", `${IMAGE_PLACEHOLDER}:v0.1.0`],
      ["kube-network-policies", "other.example/netpol:v1.0.0"],
    ]);
    expect(volumes.map(({ name }) => name)).toContain("lib-modules");
    const resources = (role: readonly KubeObject[]) =>
      objectOfKind<ClusterRole>(role, "ClusterRole").rules.flatMap((rule) => rule.resources);
    expect(resources(objects)).toContain("networkpolicies");
    expect(resources(await renderChart())).toEqual(["pods", "nodes", "nodes/status"]);
  }, TIMEOUT_MS);

  test("is in the namespace of the release, as all objects are", async () => {
    const other = ["template", "x", CHART, "--namespace=kube-system"];
    const { stdout } = await helm([...other, "--set=flannel.image.repository=a"]);
    expect(stdout.match(/namespace: \S+/g)?.length).toBe(4);
    expect(new Set(stdout.match(/namespace: \S+/g))).toEqual(new Set(["namespace: kube-system"]));
  }, TIMEOUT_MS);

  test("keeps the name and the selector, which Kubernetes does not let change", async () => {
    const set = objectOfKind<DaemonSet>(await renderChart(), "DaemonSet");
    expect(set.metadata.name).toBe("kube-flannel-ds");
    expect(set.spec.selector).toEqual({ matchLabels: { app: "flannel" } });
  }, TIMEOUT_MS);
});

describe("a wrong value is refused", () => {
  test.each([
    ["no network", { podCidr: "", podCidrv6: "" }, "set podCidr or podCidrv6"],
    ["a network without a length", { podCidr: "10.244.0.0" }, "podCidr"],
    ["IPv6 as the IPv4 network", { podCidr: V6 }, "podCidr"],
    ["IPv4 as the IPv6 network", { podCidrv6: V4 }, "podCidrv6"],
    ["a misspelt value", { podCIDR: V4 }, "podCIDR"],
    ["a misspelt option", { flannel: { directrouting: true } }, "directrouting"],
    ["an unknown backend", { flannel: { backend: "vlan" } }, "backend"],
    ["a port that is too high", { flannel: { backendPort: 65536 } }, "backendPort"],
    ["a port as text", { flannel: { backendPort: "8472" } }, "backendPort"],
    ["a VNI too long for the name of a device", { flannel: { vni: 10000000 } }, "vni"],
    ["an MTU that is too small", { flannel: { mtu: 100 } }, "mtu"],
    ["an unknown mode", { flannel: { tunnelMode: "both" } }, "tunnelMode"],
    ["a boolean as text", { flannel: { enableNFTables: "true" } }, "enableNFTables"],
    ["flags without --kube-subnet-mgr", { flannel: { args: ["--ip-masq"] } }, "args"],
    [
      "a second --healthz-port",
      { flannel: { args: ["--kube-subnet-mgr", "--healthz-port=1"] } },
      "args",
    ],
    [
      "the type as an option",
      { flannel: { backendOptions: { type: "udp" } } },
      "flannel.backendOptions has type, which another value of flannel sets",
    ],
    [
      "an option twice",
      { flannel: { mtu: 1400, backendOptions: { MTU: 1300 } } },
      "flannel.backendOptions has MTU, which another value of flannel sets",
    ],
    ["a relative directory", { flannel: { cniBinDir: "opt/cni/bin" } }, "cniBinDir"],
    ["a CNI configuration that is not JSON", { flannel: { cniConf: "{name: cbr0" } }, "cniConf"],
    ["another kind of probe", { flannel: { healthz: { livenessProbe: { exec: {} } } } }, "Probe"],
    ["network policies without an image", { netpol: { enabled: true } }, "netpol.image.repository"],
    [
      "another image for the CNI plugin without a tag",
      { flannel: { flannel_cni: { image: { repository: "other.example/cni" } } } },
      "flannel.flannel_cni.image.tag",
    ],
  ])("%s", async (_title, values, named) => {
    const { exitCode, stderr } = await renderChartText(values);
    expect(exitCode).toBe(1);
    expect(stderr).toContain(named);
  }, TIMEOUT_MS);

  test("no image", async () => {
    const { exitCode, stderr } = await helm(["template", "flannel", CHART]);
    expect(exitCode).toBe(1);
    expect(stderr).toContain("set flannel.image.repository to your image of flanneld");
  }, TIMEOUT_MS);
});
