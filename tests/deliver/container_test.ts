/**
 * The image in containers of podman and runc, without privileges: the engine reads the archive,
 * mounts /proc/sys read-only, and filters system calls.
 */

import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { runProgram } from "../../src/process/run_program.ts";
import { Cluster } from "../support/cluster.ts";
import { type Daemon, FLANNELD, type Host } from "../support/host.ts";
import { Podman } from "../support/podman.ts";
import { provided } from "../support/provided.ts";
import { runCommand } from "../support/run_command.ts";
import { eventually } from "../support/wait.ts";

const NAME = "localhost/flanneld:test";
const OCI_ARCHIVE = new URL("../../deploy/image/oci_archive.sh", import.meta.url).pathname;
/** That of `Host.ready`. */
const HEALTH_FLAG = "--healthz-port=8471";
const [architecture, otherArchitecture] = process.arch === "x64"
  ? ["amd64", "arm64"]
  : ["arm64", "amd64"];

describe("containers of the image on two hosts", () => {
  let directory = "";
  let podman: Podman;
  let cluster: Cluster;

  beforeAll(async () => {
    directory = mkdtempSync(join(tmpdir(), "image-"));
    podman = await Podman.create();
    await podman.load(await packImage(directory));
    cluster = await Cluster.create({ hosts: 2, families: [4, 6] });
  }, 900_000);

  afterAll(async () => {
    await cluster?.[Symbol.asyncDispose]();
    await podman?.[Symbol.asyncDispose]();
    rmSync(directory, { recursive: true });
  }, 60_000);

  test("connect them, with IPv4 and IPv6, by a datastore in a container", async () => {
    const endpoints = await startDatastore(cluster.host(1));
    for (const host of cluster.hosts) startDaemon(host, endpoints);
    for (const host of cluster.hosts) await host.ready();
    await cluster.attachWorkloads();
    await cluster.expectMesh();
    for (const { name, daemon } of cluster.hosts) {
      const process = `/proc/${await podman.processOf(`flanneld-${name}`)}`;
      const status = readFileSync(`${process}/status`, "utf8");
      expect(status).toMatch(/CapEff:\t0{12}1000\n/); // CAP_NET_ADMIN, linux/capability.h
      expect(status).toContain("Seccomp:\t2\n"); // SECCOMP_MODE_FILTER, linux/seccomp.h
      const mounts = readFileSync(`${process}/mounts`, "utf8");
      expect(mounts).toMatch(/^\S+ \/ overlay ro,/m);
      expect(mounts).toMatch(/^\S+ \/proc\/sys proc ro,/m);
      expect(daemon.logLines(/^[EW]/)).toEqual([]);
    }
  }, 120_000);

  test("are replaced without loss of a packet", async () => {
    const [one, two] = [cluster.host(1), cluster.host(2)];
    const pings = [one.ping(two), one.ping(two, 6)];
    const before = one.subnetText();
    expect(await podman.stop(`flanneld-${one.name}`)).toBe(0);
    startDaemon(one, `http://${one.address(4)}:2379`);
    await one.ready();
    expect(one.subnetText()).toBe(before);
    for (const ping of pings) expect((await ping.stop()).lost).toEqual([]);
  }, 120_000);

  async function startDatastore(host: Host): Promise<string> {
    const data = makeDirectory(host, "datastore");
    const binary = podman.program(host, {
      name: "datastore",
      image: NAME,
      options: [...CONTAINED, `--volume=${data}:/var/lib/flannel`],
    });
    const listen = `${host.address(4)}:2379`;
    const networks = "--network=10.5.0.0/16,fd00:5::/48";
    const flags = ["datastore", "--insecure", `--listen=${listen}`, networks];
    const server = host.start({ bare: true, binary, flags });
    await eventually("the datastore serves", 60_000, () => {
      if (server.log().includes("] ready; ")) return true;
      throw new Error(`its log ends: ${server.logEnd()}`);
    });
    return `http://${listen}`;
  }

  function startDaemon(host: Host, endpoints: string): Daemon {
    const lock = join(host.directory, "xtables.lock");
    writeFileSync(lock, "");
    const binary = podman.program(host, {
      name: `flanneld-${host.name}`,
      image: NAME,
      options: [
        ...CONTAINED,
        "--cap-add=NET_ADMIN",
        `--volume=${host.directory}:/run/flannel`,
        `--volume=${lock}:/run/xtables.lock`,
      ],
    });
    const flags = [`--etcd-endpoints=${endpoints}`, "--ip-masq", HEALTH_FLAG];
    return host.start({ bare: true, binary, flags });
  }
});

const CONTAINED = ["--cap-drop=ALL", "--read-only"];

/** An archive with the image for this machine; that for the other architecture has one file. */
async function packImage(directory: string): Promise<string> {
  const rootfs = await provided("kube/image_root.sh", { timeoutMs: 900_000 });
  const other = join(directory, "other.tar");
  await runCommand("tar", ["-cf", other, "-C", directory, "."]);
  const image = join(directory, "image.tar");
  const platforms = [
    `${otherArchitecture}=${other}=/bin/true`,
    `${architecture}=${rootfs}=${FLANNELD}`,
  ];
  const args = [OCI_ARCHIVE, NAME, image, ...platforms];
  const env = { ...process.env, COMPRESSION_LEVEL: "1" };
  const { exitCode, stderr } = await runProgram("bash", args, { timeoutMs: 300_000, env });
  if (exitCode !== 0) throw new Error(`the image cannot be packed: ${stderr}`);
  return image;
}

function makeDirectory(host: Host, name: string): string {
  const path = join(host.directory, name);
  mkdirSync(path);
  return path;
}
