/**
 * The configurations for Ignition 2.15 and later, as on Fedora CoreOS and Flatcar: the executable by
 * its checksum, the settings, and the units of deploy/systemd. `npm run docs` writes them.
 */

import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";

const REPOSITORY = new URL("../../", import.meta.url).pathname;
/** /usr is read-only on these systems. */
const EXECUTABLE = "/opt/bin/flanneld";

const NODE_SETTINGS = [
  "FLANNELD_JOIN=TOKEN@ADDRESS",
  "FLANNELD_IFACE=INTERFACE",
  "FLANNELD_IP_MASQ=true",
];
/** In quotes: systemd would not need them, but a shell would. */
const DATASTORE_SETTINGS = [
  'FLANNEL_DATASTORE_FLAGS="--listen ADDRESS --network 10.5.0.0/16"',
  "FLANNEL_DATASTORE_SECRET=SECRET",
];

/** Files of deploy/systemd that keep other programs away from the devices and routes of flanneld. */
const DROP_INS = {
  "/etc/systemd/network/10-flannel.network": "10-flannel.network",
  "/etc/systemd/networkd.conf.d/flannel.conf": "networkd.conf",
  "/etc/NetworkManager/conf.d/flannel.conf": "network_manager.conf",
};

/** The texts of the files by path, from the root of the repository. */
export function ignitionFiles(): Readonly<Record<string, string>> {
  const datastore = [privateFile("/etc/flanneld/datastore.env", DATASTORE_SETTINGS)];
  return {
    "deploy/ignition/datastore.ign": config(["flannel-datastore", "flanneld"], datastore),
    "deploy/ignition/node.ign": config(["flanneld"], []),
  };
}

/** https://coreos.github.io/ignition/configuration-v3_4/ */
function config(services: readonly string[], files: readonly object[]): string {
  const value = {
    ignition: { version: "3.4.0" },
    storage: {
      files: [
        privateFile("/etc/flanneld/flanneld.env", NODE_SETTINGS),
        ...files,
        executable(),
        file("/etc/sysctl.d/60-flannel.conf", "net.ipv4.ip_forward=1\n"),
        file("/etc/modules-load.d/flannel.conf", "br_netfilter\n"),
        ...Object.entries(DROP_INS).map(([path, name]) => file(path, deployed(name))),
      ],
    },
    systemd: { units: services.map(unit) },
  };
  return `${JSON.stringify(value, undefined, 2)}\n`;
}

function executable(): object {
  return {
    path: EXECUTABLE,
    mode: 0o755,
    contents: {
      source: "https://MIRROR/VERSION/flanneld-linux-amd64",
      verification: { hash: "sha256-SHA256" },
    },
  };
}

/** Settings, which only root may read. */
function privateFile(path: string, lines: readonly string[]): object {
  return { ...file(path, lines.map((line) => `${line}\n`).join("")), mode: 0o600 };
}

function file(path: string, text: string): object {
  return { path, mode: 0o644, overwrite: true, contents: { source: dataUrl(text) } };
}

/** RFC 2397; only what has to be is encoded, so that the values can be read and replaced. */
function dataUrl(text: string): string {
  return `data:,${text.replace(/[^\w@:/.,=-]/g, encodeURIComponent)}`;
}

function unit(service: string): object {
  const name = `${service}.service`;
  const contents = deployed(name);
  const [, command = ""] = /^ExecStart=flanneld(.*)$/m.exec(contents) ?? [];
  const path = `[Service]\nExecStart=\nExecStart=${EXECUTABLE}${command}\n`;
  return { name, enabled: true, contents, dropins: [{ name: "path.conf", contents: path }] };
}

function deployed(name: string): string {
  return readFileSync(join(REPOSITORY, "deploy/systemd", name), "utf8");
}

if (import.meta.main) {
  for (const [path, text] of Object.entries(ignitionFiles())) {
    writeFileSync(join(REPOSITORY, path), text);
  }
}
