import { afterAll, describe, expect, test } from "bun:test";
import { chmodSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { missingKubePrograms } from "../../../src/lab/kube/kube_prerequisites.ts";
import { addressesOf, findPlugin } from "../../../src/lab/kube/pod_network.ts";

const directory = mkdtempSync(join(tmpdir(), "pod-network-"));
afterAll(() => rmSync(directory, { recursive: true }));

/** A directory with these executables. */
function folder(name: string, programs: readonly string[]): string {
  const path = join(directory, name);
  mkdirSync(path);
  for (const program of programs) {
    writeFileSync(join(path, program), "#!/bin/sh\n");
    chmodSync(join(path, program), 0o755);
  }
  return path;
}

describe("addressesOf()", () => {
  test("has the address of each family in a result of CNI 0.3.1 and later", () => {
    const ips = [
      { version: "4", address: "10.244.1.2/24", gateway: "10.244.1.1" },
      { address: "fd00:10:244:1::2/64" },
    ];
    expect(addressesOf({ cniVersion: "0.3.1", ips }) as object)
      .toEqual({ 4: "10.244.1.2", 6: "fd00:10:244:1::2" });
  });

  test.each([[{}], [{ ips: "10.244.1.2" }], [{ ips: [null, { address: 7 }, {}] }]])(
    "has none of %p",
    (result) => expect(addressesOf(result) as object).toEqual({}),
  );
});

test("findPlugin() takes the first directory that has the plugin as a program", () => {
  const [first, second] = [folder("first", ["bridge"]), folder("second", ["bridge", "portmap"])];
  writeFileSync(join(first, "portmap"), "not executable", { mode: 0o644 });
  expect(findPlugin("bridge", [first, second])).toBe(join(first, "bridge"));
  expect(findPlugin("portmap", [first, second])).toBe(join(second, "portmap"));
  expect(findPlugin("loopback", [first, second])).toBeUndefined();
});

describe("missingKubePrograms()", () => {
  const plugins = folder("plugins", ["bridge", "host-local", "loopback", "portmap"]);
  const server = join(folder("server", ["kube-apiserver"]), "kube-apiserver");
  const options = { apiServer: server, cniDirectories: [plugins], flanneld: [] };

  test("is empty where everything is", () => {
    expect(missingKubePrograms(options)).toEqual([]);
  });

  test("names the plugins that are in none of the directories", () => {
    const cniDirectories = [folder("some", ["host-local", "loopback"]), "/none"];
    expect(missingKubePrograms({ ...options, cniDirectories })).toEqual([
      `CNI plugins bridge, portmap not found in ${cniDirectories.join(", ")}; install them with: ` +
      "apt-get install containernetworking-plugins; or name their directory with --cni-bin-dir",
    ]);
  });

  test("says how to name an API server that is not on PATH, or not where it should be", () => {
    expect(missingKubePrograms({ ...options, apiServer: "kube-apiserver-none" })).toEqual([
      "program kube-apiserver-none not found; download it from " +
      "https://kubernetes.io/releases/download/ and name it with --kube-apiserver",
    ]);
    expect(missingKubePrograms({ ...options, apiServer: plugins })).toEqual([
      `--kube-apiserver is ${plugins}, which is not a program; download it from ` +
      "https://kubernetes.io/releases/download/",
    ]);
  });
});
