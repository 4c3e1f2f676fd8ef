/**
 * The image: the containers of the manifest in its root file system, with the capabilities, mounts
 * and variables of the manifest and nothing else; and the names that other manifests use.
 */

import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { existsSync, mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { apiServerVariables } from "../../src/lab/kube/api_server_settings.ts";
import { runProgram } from "../../src/process/run_program.ts";
import { FLANNELD } from "../support/host.ts";
import { KubeCluster } from "../support/kube/kube_cluster.ts";
import type { KubeHost } from "../support/kube/kube_host.ts";
import { podContainer } from "../support/kube/pod_container.ts";
import { provided } from "../support/provided.ts";
import { eventually } from "../support/wait.ts";
import {
  configFile,
  type ConfigMap,
  type Container,
  manifestObjects,
  objectOfKind,
  podSpec,
} from "../support/kube_manifest.ts";

const objects = manifestObjects();
const pod = podSpec(objects);
const [installPlugin, installConfig] = pod.initContainers as [Container, Container];
const daemon = pod.containers[0] as Container;
/** That of `Host.ready`; of two flags, the last one counts. */
const HEALTH_FLAG = "--healthz-port=8471";

let imageRoot = "";

beforeAll(async () => {
  const archive = await provided("kube/image_root.sh", { timeoutMs: 900_000 });
  imageRoot = archive.replace(/\.tar$/, "");
}, 900_000);

describe("a cluster of the manifest's pods", () => {
  let cluster: KubeCluster;

  beforeAll(async () => {
    cluster = await KubeCluster.create({ hosts: 2, families: [4, 6] });
    await cluster.createNodes({ families: [4, 6] });
    for (const host of cluster.hosts) await host.createPod();
  }, 180_000);

  afterAll(async () => {
    await cluster?.[Symbol.asyncDispose]();
  }, 60_000);

  test("the init containers install the plugin and the configuration", async () => {
    const host = cluster.host(1);
    await runToEnd(host, enter(cluster, host, installPlugin), installPlugin.args);
    await runToEnd(host, enter(cluster, host, installConfig), installConfig.args);
    const plugin = statSync(join(hostPath(host, "/opt/cni/bin"), "flannel"));
    expect([plugin.size, plugin.mode & 0o777]).toEqual([statSync(FLANNELD).size, 0o755]);
    const directory = hostPath(host, "/etc/cni/net.d");
    expect(readdirSync(directory)).toEqual(["10-flannel.conflist"]);
    expect(readFileSync(join(directory, "10-flannel.conflist"), "utf8"))
      .toBe(configFile(objects, "cni-conf.json"));
  }, 60_000);

  test.each(["iptables", "nftables"])(
    "the pods connect the nodes, with IPv4 and IPv6 and rules in %s",
    async (firewall) => {
      const netConf = JSON.stringify({
        ...JSON.parse(configFile(objects, "net-conf.json")),
        EnableIPv6: true,
        IPv6Network: "fd00:10:244::/48",
        EnableNFTables: firewall === "nftables",
      });
      for (const host of cluster.hosts) {
        const binary = enter(cluster, host, daemon, netConf);
        host.start({ bare: true, binary, flags: [...daemon.args, HEALTH_FLAG], nodeName: null });
      }
      for (const host of cluster.hosts) await host.ready();
      if (firewall === "iptables") await cluster.attachWorkloads();
      await cluster.expectMesh();
      for (const { daemon, directory } of cluster.hosts) {
        // In the host's /run/flannel, from a container whose own files are read-only.
        await eventually(
          "the status socket is open",
          30_000,
          () => existsSync(join(directory, "flanneld.sock")),
        );
        // CAP_NET_ADMIN and CAP_NET_RAW, linux/capability.h
        expect(readFileSync(`/proc/${daemon.pid}/status`, "utf8")).toMatch(/CapEff:\t0{12}3000\n/);
        expect(daemon.logLines(/^[EW]/)).toEqual([]);
        expect((await daemon.stop()).code).toBe(0);
      }
    },
    120_000,
  );

  /** The container on a host, for `Host.start` or `runToEnd`. */
  function enter(
    { plane }: KubeCluster,
    host: KubeHost,
    container: Container,
    netConf = configFile(objects, "net-conf.json"),
  ): string {
    return podContainer({
      pod,
      container,
      imageRoot,
      host,
      hostPath: (path) => hostPath(host, path),
      configMap: {
        ...objectOfKind<ConfigMap>(objects, "ConfigMap").data,
        "net-conf.json": netConf,
      },
      account: plane.flannel,
      env: {
        ...host.podVariables,
        ...apiServerVariables(plane.url),
      },
    });
  }
});

describe("the image for manifests of Go flannel", () => {
  test("has /opt/bin/install-conf, which copies a file", async () => {
    await inImage("echo '{}' >/tmp/a && /opt/bin/install-conf /tmp/a /tmp/b && cmp /tmp/a /tmp/b");
  }, 60_000);

  test("has /flannel, which cp copies, and which is the CNI plugin", async () => {
    const output = await inImage(`
      cp -f /flannel /opt/cni/bin/flannel
      echo '{"cniVersion": "1.0.0"}' | CNI_COMMAND=VERSION /opt/cni/bin/flannel`);
    expect(JSON.parse(output).supportedVersions).toContain("1.1.0");
  }, 60_000);

  test("has iptables in both variants, and nftables", async () => {
    const output = await inImage(
      "iptables --version; iptables-legacy --version; nft --version; ip6tables-save --version",
    );
    expect(output).toMatch(/iptables \S+ \(nf_tables\)\n.*\(legacy\)\nnftables.*\n.*\(nf_tables\)/);
  }, 60_000);
});

/** Runs a shell script in the image with the executable under test, and directories of its own. */
async function inImage(script: string): Promise<string> {
  const enter = `mount --bind ${FLANNELD} ${imageRoot}/opt/bin/flanneld
    for directory in tmp opt/cni/bin; do mount -t tmpfs tmpfs ${imageRoot}/$directory; done
    mount -t proc proc ${imageRoot}/proc
    exec chroot ${imageRoot} sh -ec "$1"`;
  const command = ["--mount", "sh", "-ec", enter];
  const { exitCode, stdout, stderr } = await runProgram("unshare", [...command, "sh", script]);
  if (exitCode !== 0) throw new Error(`${script} failed: ${stderr}`);
  return stdout;
}

/** A directory of the test for each one of the host; /run/flannel is where `Host` reads. */
function hostPath(host: KubeHost, path: string): string {
  if (path === "/run/flannel") return host.directory;
  const place = join(host.directory, "root", path);
  mkdirSync(join(place, ".."), { recursive: true });
  if (path === "/run/xtables.lock") writeFileSync(place, "");
  else mkdirSync(place, { recursive: true });
  return place;
}

async function runToEnd(host: KubeHost, program: string, args: readonly string[]): Promise<void> {
  const { namespace } = host.station;
  const command = ["netns", "exec", namespace, "env", "FLANNEL_LAB=", program, ...args];
  const { exitCode, stderr } = await runProgram("ip", command);
  expect([exitCode, stderr]).toEqual([0, ""]);
}
