/** deploy/kube-flannel.yml: what can be checked without a cluster. */

import { describe, expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { dirname } from "node:path";
import { BACKENDS } from "../../../src/backend/backend_registry.ts";
import { parseCommandLine } from "../../../src/cli/command_line.ts";
import { checkConflist } from "../../../src/cni/conflist.ts";
import { parseNetworkConfig } from "../../../src/config/network_config.ts";
import {
  configFile,
  type Container,
  IMAGE_PLACEHOLDER,
  manifestObjects,
  parseObjects,
  podSpec,
} from "../../support/kube_manifest.ts";

const ROOT = new URL("../../../", import.meta.url).pathname;
const objects = manifestObjects();
const pod = podSpec(objects);
const containers = [...pod.initContainers, ...pod.containers];
const daemon = pod.containers[0] as Container;
const { version } = JSON.parse(readFileSync(`${ROOT}package.json`, "utf8"));

describe("the manifest", () => {
  test("has a network configuration that flanneld accepts without a warning", async () => {
    const warn = (message: string | object) => {
      throw new Error(String(message));
    };
    const source = "net-conf.json";
    const text = configFile(objects, "net-conf.json");
    const config = parseNetworkConfig(text, { source, warn, allocation: "kubernetes" });
    await BACKENDS.checkConfig(config, { warn });
    expect(config.families[4]?.network as string).toBe("10.244.0.0/16");
    expect(config.families[6]).toBeUndefined();
    expect(config.backend.type).toBe("vxlan");
  });

  test("has flags that flanneld accepts without a warning", () => {
    const command = parseCommandLine(daemon.args, {});
    expect(command).toMatchObject({
      kind: "daemon",
      warnings: [],
      options: { kubeSubnetManager: true, ipMasq: true, healthzPort: 8081 },
    });
    expect(daemon.ports).toEqual([
      expect.objectContaining({ name: "healthz", containerPort: 8081 }),
    ]);
  });

  test("installs the CNI plugin and its configuration with two containers", () => {
    const commands = pod.initContainers.map(({ command, args }) => {
      expect([...command, args[0]]).toEqual(["/opt/bin/flanneld", "install-cni"]);
      return parseCommandLine(args, {});
    });
    expect(commands).toMatchObject([
      { kind: "install-cni", options: { skipConf: true, skipPlugin: false } },
      { kind: "install-cni", options: { skipConf: false, skipPlugin: true } },
    ]);
    const [plugin, configuration] = pod.initContainers.map(mountPaths);
    for (const command of commands) {
      if (command.kind !== "install-cni") throw new Error("the arguments are wrong");
      expect(plugin).toEqual([command.options.binDir]);
      expect(configuration).toEqual([command.options.confDir, dirname(command.options.conf)]);
    }
    expect(() => checkConflist(configFile(objects, "cni-conf.json"))).not.toThrow();
  });

  test("mounts the files that the flags have as defaults", () => {
    const command = parseCommandLine(daemon.args, {});
    if (command.kind !== "daemon") throw new Error("the flags start no daemon");
    const { subnetFile, netConfigPath } = command.options;
    expect(mountPaths(daemon)).toEqual(
      expect.arrayContaining([subnetFile, netConfigPath].map(dirname)),
    );
  });

  test("has one image, of this version, and so has the chart", () => {
    expect(new Set(containers.map(({ image }) => image)))
      .toEqual(new Set([`${IMAGE_PLACEHOLDER}:v${version}`]));
    const [chart] = parseObjects(readFileSync(`${ROOT}deploy/chart/flannel/Chart.yaml`, "utf8"));
    expect(chart as unknown).toMatchObject({ version, appVersion: `v${version}` });
    const [values] = parseObjects(readFileSync(`${ROOT}deploy/chart/flannel/values.yaml`, "utf8"));
    expect(values as unknown).toMatchObject({ flannel: { image: { tag: `v${version}` } } });
  });

  test("gives no container more than it needs", () => {
    for (const { securityContext } of containers) {
      expect(securityContext).toMatchObject({
        privileged: false,
        allowPrivilegeEscalation: false,
        readOnlyRootFilesystem: true,
        capabilities: { drop: ["ALL"] },
      });
    }
    expect(containers.map(({ securityContext }) => securityContext.capabilities?.add))
      .toEqual([undefined, undefined, ["NET_ADMIN", "NET_RAW"]]);
  });

  test("has a volume for each mount, and no other", () => {
    const mounts = containers.flatMap(({ volumeMounts }) => volumeMounts.map(({ name }) => name));
    const volumes = pod.volumes.map(({ name }) => name);
    expect(volumes.toSorted()).toEqual([...new Set(mounts)].sort());
  });
});

/** Without the slash at the end, which changes nothing. */
function mountPaths({ volumeMounts }: Container): string[] {
  return volumeMounts.map(({ mountPath }) => mountPath.replace(/\/$/, ""));
}
