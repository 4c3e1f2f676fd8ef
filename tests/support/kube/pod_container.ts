/**
 * Runs a container of the manifest on a host of a test as a kubelet and a container runtime would:
 * the image as root file system, the mounts, environment, capabilities and users of the pod.
 */

import { chmodSync, mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { FLANNELD, type Host } from "../host.ts";
import type { Container, PodSpec } from "../kube_manifest.ts";
import type { ServiceAccount } from "./service_accounts.ts";

export interface PodContainerOptions {
  readonly pod: PodSpec;
  readonly container: Container;
  /** The root file system of the image, without our executable. */
  readonly imageRoot: string;
  readonly host: Host;
  /** Where the host has the directory or file of a volume with `hostPath`. */
  readonly hostPath: (path: string) => string;
  /** The files of the volume with the ConfigMap. */
  readonly configMap: Readonly<Record<string, string>>;
  readonly account: ServiceAccount;
  /** The values of `env`, by name. */
  readonly env: Readonly<Record<string, string>>;
}

/** A program that enters the container and runs `command`, and the arguments that it gets. */
export function podContainer(options: PodContainerOptions): string {
  const { container, host } = options;
  const script = join(host.directory, `container-${container.name}`);
  writeFileSync(script, containerScript(options));
  chmodSync(script, 0o755);
  return script;
}

const TOKEN_DIRECTORY = "/run/secrets/kubernetes.io/serviceaccount";
const DEVICES = ["null", "zero", "full", "random", "urandom"];

/** Its mounts are its own: `ip netns exec` has made a mount namespace. */
function containerScript(options: PodContainerOptions): string {
  const { container, imageRoot, account } = options;
  const { securityContext, command } = container;
  const mounts: readonly (readonly [string, string])[] = [
    [FLANNELD, "/opt/bin/flanneld"],
    [account.directory, TOKEN_DIRECTORY],
    ...container.volumeMounts.map(({ name, mountPath }) =>
      [volumeDirectory(name, options), mountPath] as const
    ),
  ];
  const add = securityContext.capabilities?.add ?? [];
  const capabilities = ["-all", ...add.map((name) => `+${name.toLowerCase()}`)].join();
  const variables = { PATH: "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin", ...options.env };
  return [
    "#!/bin/sh",
    "set -eu",
    `root=${imageRoot}`,
    'mount --bind "$root" "$root"',
    'mount -t proc proc "$root/proc"',
    'mount --bind "$root/proc/sys" "$root/proc/sys"',
    'mount -o remount,bind,ro "$root/proc/sys"',
    'mount -t sysfs -o ro sysfs "$root/sys"',
    'mount -t tmpfs -o mode=755 tmpfs "$root/dev"',
    ...DEVICES.map((name) =>
      `touch "$root/dev/${name}" && mount --bind /dev/${name} "$root/dev/${name}"`
    ),
    ...mounts.map(([source, target]) => `mount --bind ${source} "$root${target}"`),
    ...(securityContext.readOnlyRootFilesystem ? ['mount -o remount,bind,ro "$root"'] : []),
    // The mark by which a test finds its processes stays.
    `exec env -i FLANNEL_LAB="$FLANNEL_LAB" ${
      Object.entries(variables).map(([name, value]) => `${name}='${value}'`).join(" ")
    } \\`,
    `  chroot "$root" setpriv --no-new-privs --bounding-set=${capabilities} \\`,
    `  ${command.join(" ")} "$@"`,
    "",
  ].join("\n");
}

function volumeDirectory(name: string, options: PodContainerOptions): string {
  const { pod, host, hostPath, configMap } = options;
  const volume = pod.volumes.find((one) => one.name === name);
  if (volume === undefined) throw new Error(`the pod has no volume ${name}`);
  if (volume.hostPath !== undefined) return hostPath(volume.hostPath.path);
  const directory = join(host.directory, "config-map");
  mkdirSync(directory, { recursive: true });
  for (const [file, text] of Object.entries(configMap)) writeFileSync(join(directory, file), text);
  return directory;
}
