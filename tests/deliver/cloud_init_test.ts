/**
 * deploy/cloud-init, deploy/vagrant and deploy/ignition: machines that install flanneld by
 * themselves when they boot, at the same time as their datastore.
 *
 * The second and the third machine boot twice: the second to show that it installs nothing again,
 * the third because its first settings were not filled in.
 */

import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { shellQuoted } from "../../src/base/quoting.ts";
import { runProgram } from "../../src/process/run_program.ts";
import { FLANNELD } from "../support/host.ts";
import { applyIgnition } from "../support/machines/apply_ignition.ts";
import {
  attachAll,
  expectMachineMesh,
  subnetOf,
  unitProperty,
} from "../support/machines/flannel_machines.ts";
import type { Machine } from "../support/machines/machine.ts";
import { Machines } from "../support/machines/machines.ts";
import { ReleaseHost, writeRelease } from "../support/machines/release_host.ts";
import { provided } from "../support/provided.ts";
import { eventually } from "../support/wait.ts";

const DEPLOY = new URL("../../deploy/", import.meta.url).pathname;
const DATASTORE = "192.168.56.11";
const SEED = "/var/lib/cloud/seed/nocloud";
const READY_MS = 120_000;

/** What the image of a provider sets; the machines have no network but their own. */
const IMAGE = `network: {config: disabled}
datasource_list: [NoCloud]
apt: {preserve_sources_list: true}
locale: false
`;

/** Values of a file by the names of variables. */
type Settings = Readonly<Record<string, string>>;

let releases: string;

beforeAll(async () => {
  releases = mkdtempSync(join(tmpdir(), "releases-"));
  await writeRelease(join(releases, "v1"), { appended: "\n" });
}, 60_000);

afterAll(() => rmSync(releases, { recursive: true, force: true }));

describe("three machines", () => {
  let machines: Machines;
  let host: ReleaseHost;
  let release: Settings;
  let access: Settings;

  beforeAll(async () => {
    machines = await Machines.create({
      count: 3,
      root: "cloud",
      files: [
        { path: "/etc/cloud/cloud.cfg.d/90-image.cfg", content: IMAGE },
        { path: "/etc/apt/sources.list", content: "" },
      ],
    });
    host = new ReleaseHost(releases);
    release = { INSTALL_FLANNELD_MIRROR: host.url, INSTALL_FLANNELD_VERSION: "v1" };
    access = await preparedAccess();
    const certificate = await host.caCertificate();
    for (const machine of machines.all) {
      await machine.write("/etc/ssl/certs/ca-certificates.crt", certificate);
    }
  }, 900_000);

  afterAll(async () => {
    await host?.[Symbol.asyncDispose]();
    await machines?.[Symbol.asyncDispose]();
  }, 60_000);

  test("that boot at the same time form a network; values that are missing are named", async () => {
    const [one, two, three] = [machines.at(1), machines.at(2), machines.at(3)];
    const listen = `"--listen ${DATASTORE} --network 10.5.0.0/16"`;
    await seed(one, "datastore.yaml", { ...forNode(), FLANNEL_DATASTORE_FLAGS: listen, ...access });
    await seed(two, "node.yaml", forNode());
    await seed(three, "node.yaml", {});
    const [, , failure] = await Promise.all([one.boot(), two.boot(), three.boot().catch(String)]);
    for (const machine of [one, two]) {
      expect(await machine.run("cloud-init status --wait")).toContain("status: done");
      await awaitReady(machine);
      expect(await machine.run("stat -c %a /etc/flanneld/flanneld.env; ls /etc/flanneld"))
        .not.toContain("install.env");
    }
    expect(failure).toContain("cloud-final.service");
    expect(await three.journal("cloud-final")).toMatch(
      /^flanneld was not installed: cannot download https:\/\/MIRROR\/VERSION\S+: .*host.*$/m,
    );
  }, 600_000);

  test("the files have no mistake that cloud-init knows of", async () => {
    for (const name of ["datastore.yaml", "node.yaml"]) {
      await machines.at(1).write(`/root/${name}`, shipped(name));
      expect(await machines.at(1).run(`cloud-init schema --config-file /root/${name}`))
        .toContain("Valid cloud-config");
    }
  }, 60_000);

  test("one that boots again installs nothing, and a new one joins", async () => {
    const [two, three] = [machines.at(2), machines.at(3)];
    const subnet = await subnetOf(two);
    await Promise.all([two, three].map((machine) => machine.shutDown()));
    await seed(three, "node.yaml", forNode(), "another-instance");
    host.requests.length = 0;
    await Promise.all([two, three].map((machine) => machine.boot()));
    for (const machine of [two, three]) {
      expect(await machine.run("cloud-init status --wait")).toContain("status: done");
      await awaitReady(machine);
    }
    expect(host.requests.filter((path) => path.endsWith("install.sh"))).toHaveLength(1);
    expect(await subnetOf(two)).toEqual(subnet);
    await attachAll(machines);
    await expectMachineMesh(machines);
  }, 600_000);

  test("the Vagrantfile is valid, and its script installs such machines", async () => {
    const one = machines.at(1);
    const text = shipped("Vagrantfile").replace("https://MIRROR", host.url)
      .replace('"VERSION"', '"v1"');
    await one.write("/root/lab/Vagrantfile", text);
    expect(await one.run("cd /root/lab && vagrant validate --ignore-provider"))
      .toContain("Vagrantfile validated successfully");
    const scripts = JSON.parse(
      await one.run(`cd /root/lab && ruby -e ${shellQuoted(PROVISIONERS)}`),
    );
    expect(await one.run("stat -c %a /root/lab/.vagrant/flannel-access")).toBe("600\n");
    await Promise.all(machines.all.map((machine) => uninstall(machine)));

    // Two machines with the same address; then as the Vagrantfile has it.
    for (const machine of machines.all) {
      await provision(machine, scripts[machine.name], {
        ...(machine !== one && { FLANNELD_IFACE: "" }),
      });
    }
    const three = machines.at(3);
    await eventually("the third machine names the address and the remedy", READY_MS, async () => {
      return SAME_ADDRESS.test(await three.journal("flanneld"));
    });
    await Promise.all(machines.all.map((machine) => provision(machine, scripts[machine.name])));
    await Promise.all(machines.all.map(awaitReady));
    await attachAll(machines);
    await expectMachineMesh(machines);
  }, 600_000);

  test("the files and units of Ignition make such machines", async () => {
    const [one, ...nodes] = machines.all as [Machine, ...Machine[]];
    await Promise.all(machines.all.map((machine) => uninstall(machine)));
    const file = `flanneld-linux-${process.arch === "arm64" ? "arm64" : "amd64"}`;
    const [digest = ""] = new RegExp(`^\\w+(?=  ${file}$)`, "m").exec(
      readFileSync(join(releases, "v1/SHA256SUMS"), "utf8"),
    ) ?? [];
    const { FLANNELD_JOIN = "", FLANNEL_DATASTORE_SECRET = "" } = access;
    // docs/cloud-init.md, "Ignition".
    const filled = (name: string) =>
      shipped(name).replace("https://MIRROR/VERSION/flanneld-linux-amd64", `${host.url}/v1/${file}`)
        .replace("sha256-SHA256", `sha256-${digest}`).replace("TOKEN@ADDRESS", FLANNELD_JOIN)
        .replace("INTERFACE", "eth1").replace("%20ADDRESS", `%20${DATASTORE}`)
        .replace("=SECRET", `=${FLANNEL_DATASTORE_SECRET}`);
    await applyIgnition(one, filled("datastore.ign"));
    await Promise.all(nodes.map((node) => applyIgnition(node, filled("node.ign"))));
    await Promise.all(machines.all.map((machine) => machine.shutDown()));
    await Promise.all(machines.all.map((machine) => machine.boot()));
    await Promise.all(machines.all.map(awaitReady));
    for (const machine of machines.all) {
      const paths = "/etc/flanneld/flanneld.env /opt/bin/flanneld /proc/$(pidof -s flanneld)/exe";
      expect(await machine.run(`stat -L -c %a ${paths}; ls /usr/local/bin`)).toBe(
        "600\n755\n755\n",
      );
    }
    await attachAll(machines);
    await expectMachineMesh(machines);
  }, 600_000);

  function forNode(): Settings {
    const { FLANNELD_JOIN = "" } = access;
    return { ...release, FLANNELD_JOIN, FLANNELD_IFACE: "eth1" };
  }
});

test.each(["datastore.ign", "node.ign"])("Ignition accepts %s", async (name) => {
  const program = await provided("deliver/ignition_validate.sh", { timeoutMs: 900_000 });
  // A placeholder is not a checksum.
  const text = shipped(name).replace("sha256-SHA256", `sha256-${"0".repeat(64)}`);
  const { exitCode, stdout, stderr } = await runProgram(program, ["-"], { stdin: text });
  expect({ exitCode, stdout, stderr }).toEqual({ exitCode: 0, stdout: "", stderr: "" });
}, 900_000);

/** The text of a file below deploy/cloud-init, deploy/ignition or deploy/vagrant. */
function shipped(name: string): string {
  const folder = { yaml: "cloud-init", ign: "ignition" }[name.split(".")[1] ?? ""] ?? "vagrant";
  return readFileSync(join(DEPLOY, folder, name), "utf8");
}

/** The secret and the token of a datastore that does not run yet. */
async function preparedAccess(): Promise<Settings> {
  const { stdout } = await runProgram(FLANNELD, ["datastore", "token", "prepare", DATASTORE]);
  return Object.fromEntries([...stdout.matchAll(/^(\w+)=(\S+)$/gm)].map(([, ...pair]) => pair));
}

/** Gives cloud-init a file of deploy/cloud-init with these values. */
async function seed(
  machine: Machine,
  name: string,
  settings: Settings,
  instance = machine.name,
): Promise<void> {
  let text = shipped(name);
  for (const [variable, value] of Object.entries(settings)) {
    const line = new RegExp(`^( *${variable}=).*$`, "m");
    if (!line.test(text)) throw new Error(`${name} has no ${variable}`);
    text = text.replace(line, (_, head: string) => head + value);
  }
  await machine.write(`${SEED}/user-data`, text);
  await machine.write(
    `${SEED}/meta-data`,
    `instance-id: ${instance}\nlocal-hostname: ${machine.name}\n`,
  );
}

async function awaitReady(machine: Machine): Promise<void> {
  await eventually(`flanneld is ready on ${machine.name}`, READY_MS, async () => {
    return await unitProperty(machine, "ActiveState") === "active";
  });
}

/** A provisioner of the kind "shell", as Vagrant reads it from the Vagrantfile. */
interface ShellProvisioner {
  readonly inline: string | null;
  readonly path: string | null;
  readonly args: readonly string[] | null;
  readonly env: Settings;
}

/** Prints the provisioners of each machine. */
const PROVISIONERS = `require "vagrant"; require "json"
environment = Vagrant::Environment.new(cwd: Dir.pwd)
scripts = environment.machine_names.to_h do |name|
  config = environment.vagrantfile.machine_config(name, nil, nil)[:config]
  [name, config.vm.provisioners.map(&:config).map do |one|
    { inline: one.inline, path: one.path, args: one.args, env: one.env }
  end]
end
puts JSON.generate(scripts)`;

/** Runs them as Vagrant does, with some variables replaced. */
async function provision(
  machine: Machine,
  scripts: readonly ShellProvisioner[],
  replaced: Settings = {},
): Promise<void> {
  for (const { inline, path, args, env } of scripts) {
    if (inline !== null) await machine.write("/tmp/vagrant-shell", inline, 0o755);
    else await machine.run(`curl -fsS -o /tmp/vagrant-shell ${path}; chmod 755 /tmp/vagrant-shell`);
    const variables = Object.entries({ ...env, ...replaced })
      .map(([name, value]) => `${name}=${shellQuoted(value)}`);
    await machine.run(`env ${variables.join(" ")} sh /tmp/vagrant-shell ${(args ?? []).join(" ")}`);
  }
}

async function uninstall(machine: Machine): Promise<void> {
  await machine.write("/root/install.sh", readFileSync(join(DEPLOY, "install.sh")));
  await machine.run("sh /root/install.sh --uninstall --purge");
}

/** The second and the third machine have their first interface's address. */
const SAME_ADDRESS = new RegExp(
  "node node2 \\(interface eth0\\) is alive, and has the same public address 10\\.0\\.2\\.15 as " +
    "this node's interface eth0; .*--iface: eth1 \\(192\\.168\\.56\\.13",
);
