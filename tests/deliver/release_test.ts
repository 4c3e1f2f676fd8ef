/**
 * The files of a release, as far as they are made in a minute: the packages of this machine's
 * architecture, on a Debian machine too, the bills of materials, the chart, the checksums and the
 * signature. tests/deliver/release/run.sh makes whole releases.
 */

import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { runProgram, type RunResult } from "../../src/process/run_program.ts";
import { FLANNELD } from "../support/host.ts";
import type { Machine } from "../support/machines/machine.ts";
import { Machines } from "../support/machines/machines.ts";
import { runCommand } from "../support/run_command.ts";
import { eventually } from "../support/wait.ts";

const ROOT = new URL("../../", import.meta.url).pathname;
const RELEASE = join(ROOT, "deploy/release");
const EPOCH = "1700000000"; // 2023-11-14T22:13:20Z
const ENVIRONMENT = { ...process.env, SOURCE_DATE_EPOCH: EPOCH };
const PUBLISHER = {
  FLANNELD_MAINTAINER: "Example Networks <flanneld@example.com>",
  FLANNELD_HOMEPAGE: "https://example.com/flanneld",
};
const READY_MS = 60_000;
/** Debian's rpm refuses to install without this option. */
const RPM = "rpm --force-debian";

const architecture = process.arch === "x64" ? "amd64" : "arm64";
const rpmArchitecture = process.arch === "x64" ? "x86_64" : "aarch64";

let directory = "";

beforeAll(async () => {
  directory = mkdtempSync(join(tmpdir(), "release-"));
  await makePackages("1.0.0", "first");
  await makePackages("1.1.0", "first", PUBLISHER);
}, 300_000);

afterAll(() => rmSync(directory, { recursive: true }));

const FILES = [
  "-rw------- /etc/flanneld/datastore.env",
  "-rw------- /etc/flanneld/flanneld.env",
  "-rwxr-xr-x /usr/bin/flanneld",
  "-rw-r--r-- /usr/lib/NetworkManager/conf.d/flannel.conf",
  "-rw-r--r-- /usr/lib/systemd/network/10-flannel.network",
  "-rw-r--r-- /usr/lib/systemd/networkd.conf.d/flannel.conf",
  "-rw-r--r-- /usr/lib/systemd/system/flannel-datastore.service",
  "-rw-r--r-- /usr/lib/systemd/system/flanneld.service",
  "-rwxr-xr-x /usr/libexec/flannel/mk-docker-opts.sh",
  "-rw-r--r-- /usr/share/bash-completion/completions/flanneld",
  "-rw-r--r-- /usr/share/doc/flanneld/changelog.gz",
  "-rw-r--r-- /usr/share/doc/flanneld/copyright",
  "-rw-r--r-- /usr/share/fish/vendor_completions.d/flanneld.fish",
  "-rw-r--r-- /usr/share/flannel/docker.service.d/flannel.conf",
  "-rw-r--r-- /usr/share/man/man8/flanneld-config.8.gz",
  "-rw-r--r-- /usr/share/man/man8/flanneld-datastore.8.gz",
  "-rw-r--r-- /usr/share/man/man8/flanneld-lab.8.gz",
  "-rw-r--r-- /usr/share/man/man8/flanneld-leases.8.gz",
  "-rw-r--r-- /usr/share/man/man8/flanneld.8.gz",
];
const CONFIGURATION = "/etc/flanneld/datastore.env\n/etc/flanneld/flanneld.env\n";

describe("the packages", () => {
  test("are the same bytes each time", async () => {
    await makePackages("1.0.0", "second");
    for (const path of [debian, rpm]) {
      expect(sha256(path("1.0.0", "second"))).toBe(sha256(path("1.0.0")));
    }
  }, 120_000);

  test("have these files, owned by root, in Debian's form", async () => {
    const listing = await output("dpkg-deb", ["--contents", debian("1.0.0")]);
    const files = [...listing.matchAll(/^(-\S+) root\/root .* \.(\S+)$/gm)]
      .map(([, mode, path]) => `${mode} ${path}`);
    expect(files).toEqual([...FILES, "-rw-r--r-- /usr/share/zsh/vendor-completions/_flanneld"]);
    const control = await output("dpkg-deb", ["--field", debian("1.0.0")]);
    expect(control).toContain(`Package: flanneld\nVersion: 1.0.0\n`);
    expect(control).toContain(`Architecture: ${architecture}\n`);
    expect(await output("dpkg-deb", ["--info", debian("1.0.0"), "conffiles"])).toBe(CONFIGURATION);
  });

  test("have these files, owned by root, in RPM's form", async () => {
    const query = "[%{FILEMODES:perms} %{FILEUSERNAME}:%{FILEGROUPNAME} %{FILENAMES}\n]";
    const files = (await output("rpm", ["-qp", "--queryformat", query, rpm("1.0.0")])).trim();
    const expected = [...FILES, "-rw-r--r-- /usr/share/zsh/site-functions/_flanneld"]
      .map((line) => line.replace(" ", " root:root "));
    expect(files.split("\n")).toEqual(expected);
    expect(await output("rpm", ["-qp", "--configfiles", rpm("1.0.0")])).toBe(CONFIGURATION);
    const tags = "%{NAME} %{VERSION} %{ARCH} %{BUILDTIME} %{BUILDHOST}";
    expect(await output("rpm", ["-qp", "--queryformat", tags, rpm("1.0.0")]))
      .toBe(`flanneld 1.0.0 ${rpmArchitecture} ${EPOCH} flanneld`);
  });
});

test("the packages name their publisher, and without one no address that exists", async () => {
  const fields = ["Maintainer", "Homepage"];
  expect(await output("dpkg-deb", ["--field", debian("1.0.0"), ...fields])).toBe(
    "Maintainer: The authors of flanneld <flanneld@example.invalid>\n",
  );
  expect(await output("dpkg-deb", ["--field", debian("1.1.0"), ...fields])).toBe(
    `Maintainer: ${PUBLISHER.FLANNELD_MAINTAINER}\nHomepage: ${PUBLISHER.FLANNELD_HOMEPAGE}\n`,
  );
  const tags = ["-qp", "--queryformat", "%{PACKAGER} %{URL}"];
  expect(await output("rpm", [...tags, rpm("1.1.0")])).toBe(
    `${PUBLISHER.FLANNELD_MAINTAINER} ${PUBLISHER.FLANNELD_HOMEPAGE}`,
  );
});

describe("a package on a machine", () => {
  let machines: Machines;
  let machine: Machine;
  const settings = "FLANNELD_ETCD_ENDPOINTS=http://127.0.0.1:2379\nFLANNELD_IFACE=eth1\n";

  beforeAll(async () => {
    machines = await Machines.create({
      count: 1,
      files: ["1.0.0", "1.1.0"].flatMap((version) => [
        { path: `/root/${version}.deb`, content: { copyOf: debian(version) } },
        { path: `/root/${version}.rpm`, content: { copyOf: rpm(version) } },
      ]),
    });
    await machines.boot();
    machine = machines.at(1);
  }, 180_000);

  afterAll(async () => {
    await machines?.[Symbol.asyncDispose]();
  }, 60_000);

  test("starts and enables nothing", async () => {
    await machine.run("dpkg --install /root/1.0.0.deb");
    await expectNothingEnabled();
    expect(await machine.run("command -v flanneld")).toBe("/usr/bin/flanneld\n");
    const units = "flanneld.service flannel-datastore.service";
    expect(await machine.run(`systemd-analyze verify ${units} 2>&1`)).toBe("");
  }, 120_000);

  test("has units that run when they are enabled", async () => {
    await enableUnits();
    expect(await machine.run("cat /run/flannel/subnet.env")).toContain("FLANNEL_SUBNET=10.5.");
  }, 120_000);

  test(
    "restarts what ran on an upgrade and on a downgrade, and keeps the settings",
    async () => {
      // docs/upgrade.md
      const options = "--yes --no-install-recommends";
      await expectRestarts(`apt-get install ${options} /root/1.1.0.deb`);
      expect(await machine.run("dpkg-query --show flanneld")).toBe("flanneld\t1.1.0\n");
      await expectRestarts(`apt-get install ${options} --allow-downgrades /root/1.0.0.deb`);
      expect(await machine.run("dpkg-query --show flanneld")).toBe("flanneld\t1.0.0\n");
    },
    180_000,
  );

  test("does not start on an upgrade what was stopped", async () => {
    await machine.run("systemctl stop flanneld");
    await machine.run("dpkg --install /root/1.1.0.deb 2>&1");
    expect(await state("flanneld")).toEqual({ active: "inactive", enabled: "enabled" });
    await eventually("the datastore runs", READY_MS, async () => {
      return (await state("flannel-datastore")).active === "active";
    });
  }, 120_000);

  test(
    "stops the units when it is removed, and keeps the settings until it is purged",
    async () => {
      await machine.run("systemctl start flanneld && dpkg --remove flanneld");
      expect(await state("flanneld")).toEqual({ active: "inactive", enabled: "not-found" });
      expect(await machine.run("ls -A /etc/systemd/system/multi-user.target.wants"))
        .not.toContain("flannel");
      expect(await machine.run("cat /etc/flanneld/flanneld.env")).toBe(settings);
      await machine.run("dpkg --purge flanneld");
      const remaining = "find / -xdev -path /root -prune -o -name '*flannel*' -print";
      expect((await machine.run(remaining)).split("\n").filter((path) => /^\/(etc|usr)/.test(path)))
        .toEqual([]);
      expect(await machine.run("ls /var/lib/private/flannel")).toBe("datastore\n");
    },
    120_000,
  );

  test("in RPM's form does the same", async () => {
    // Nothing in RPM's database provides what the package depends on.
    const install = `${RPM} --nodeps --upgrade`;
    await machine.run(`${install} /root/1.0.0.rpm`);
    await expectNothingEnabled();
    expect(await machine.run(`${RPM} --verify --nodeps flanneld`)).toBe("");
    await enableUnits();
    await expectRestarts(`${install} /root/1.1.0.rpm`);
    await expectRestarts(`${install} --oldpackage /root/1.0.0.rpm`);
    expect(await machine.run("rpm --query flanneld")).toStartWith("flanneld-1.0.0-1.");
    await machine.run(`${RPM} --erase flanneld`);
    expect(await state("flanneld")).toEqual({ active: "inactive", enabled: "not-found" });
    expect(await machine.run("ls /etc/flanneld")).toBe("flanneld.env.rpmsave\n");
    expect(await machine.run("ls /var/lib/private/flannel")).toBe("datastore\n");
  }, 180_000);

  async function expectNothingEnabled(): Promise<void> {
    for (const unit of ["flanneld", "flannel-datastore"]) {
      expect(await state(unit)).toEqual({ active: "inactive", enabled: "disabled" });
    }
  }

  async function enableUnits(): Promise<void> {
    await machine.write("/etc/flanneld/flanneld.env", settings, 0o600);
    await machine.run("systemctl enable --quiet --now flannel-datastore flanneld");
  }

  async function expectRestarts(upgrade: string): Promise<void> {
    const before = [await mainProcess("flanneld"), await mainProcess("flannel-datastore")];
    await machine.run(upgrade);
    await eventually("the units run again", READY_MS, async () => {
      const now = [await mainProcess("flanneld"), await mainProcess("flannel-datastore")];
      return now.every((pid, index) => pid !== "0" && pid !== before[index]);
    });
    await eventually("flanneld is ready", READY_MS, async () => {
      return (await state("flanneld")).active === "active";
    });
    expect(await machine.run("cat /etc/flanneld/flanneld.env")).toBe(settings);
    expect(await state("flanneld")).toEqual({ active: "active", enabled: "enabled" });
  }

  async function state(unit: string): Promise<{ active: string; enabled: string }> {
    const active = await machine.run(`systemctl is-active ${unit} || true`);
    const enabled = await machine.run(`systemctl is-enabled ${unit} 2>&1 || true`);
    return {
      active: active.trim(),
      enabled: /No such file|not-found/.test(enabled) ? "not-found" : enabled.trim(),
    };
  }

  async function mainProcess(unit: string): Promise<string> {
    return (await machine.run(`systemctl show --value --property MainPID ${unit}`)).trim();
  }
});

describe("a bill of materials", () => {
  const libnl = "3.7.0-0.2";

  test("in CycloneDX names the libraries, the runtime and libnl", async () => {
    const text = await bill("cyclonedx");
    expect(await bill("cyclonedx")).toBe(text);
    const { metadata, components, dependencies } = JSON.parse(text);
    expect(metadata.timestamp).toBe("2023-11-14T22:13:20Z");
    expect(metadata.component.hashes).toEqual([{ alg: "SHA-256", content: sha256(FLANNELD) }]);
    const references = components.map((one: { "bom-ref": string }) => one["bom-ref"]);
    expect(references).toContain("pino@10.4.0");
    expect(references).toContain(`bun@${Bun.version}`);
    expect(references).toContain(`JavaScriptCore@${process.versions["webkit"]}`);
    expect(references).toContain(`libnl3@${libnl}`);
    expect(references).not.toContain("fast-check@4.10.2"); // of the tests only
    const known = [metadata.component["bom-ref"], ...references].sort();
    expect(dependencies.map((one: { ref: string }) => one.ref).sort()).toEqual(known);
  }, 60_000);

  test("in SPDX names the same", async () => {
    const text = await bill("spdx");
    expect(await bill("spdx")).toBe(text);
    const { creationInfo, packages, relationships } = JSON.parse(text);
    expect(creationInfo.created).toBe("2023-11-14T22:13:20Z");
    const names = packages.map((one: { name: string }) => one.name);
    expect(names).toEqual(expect.arrayContaining(["pino", "bun", "JavaScriptCore", "libnl3"]));
    const ids = new Set(packages.map((one: { SPDXID: string }) => one.SPDXID));
    expect(ids.size).toBe(packages.length);
    for (const { relatedSpdxElement } of relationships) expect(ids).toContain(relatedSpdxElement);
  }, 60_000);

  async function bill(format: string): Promise<string> {
    const script = join(RELEASE, "sbom.ts");
    return await output(process.execPath, [script, format, FLANNELD, architecture, libnl]);
  }
});

test("the chart is packed with the version, the same bytes each time", async () => {
  const digests = [];
  for (const name of ["one", "two"]) {
    const folder = makeFolder(name);
    await output("bash", [join(RELEASE, "chart.sh"), "1.2.3", folder]);
    const archive = join(folder, "flannel-1.2.3.tgz");
    const metadata = await output("tar", ["-xzOf", archive, "flannel/Chart.yaml"]);
    expect(metadata).toContain("appVersion: v1.2.3\n");
    digests.push(sha256(archive));
  }
  expect(digests[0]).toBe(digests[1]);
}, 60_000);

describe("the checksums", () => {
  let folder = "";

  beforeAll(async () => {
    folder = makeFolder("sums");
    for (const name of ["a", "b"]) writeFileSync(join(folder, name), name);
    for (const name of ["ours", "other"]) {
      await runCommand("minisign", ["-G", "-W", "-p", key(name, "pub"), "-s", key(name, "key")]);
    }
    await sign(key("ours", "key"));
  });

  test("are those of all files", async () => {
    await runCommand("sh", ["-c", `cd ${folder} && sha256sum --strict --check SHA256SUMS`]);
    expect(readFileSync(join(folder, "SHA256SUMS"), "utf8")).toMatch(
      /^\S{64} {2}a\n\S{64} {2}b\n$/,
    );
  });

  test("have the same signature each time, which no other key verifies", async () => {
    expect((await verify("ours")).stdout).toContain("flanneld 1.2.3");
    const { exitCode, stderr } = await verify("other");
    expect([exitCode, stderr]).toEqual([
      1,
      expect.stringMatching(/but the key id in the public key is/),
    ]);
    const signature = readFileSync(join(folder, "SHA256SUMS.minisig"), "utf8");
    await sign(key("ours", "key"));
    expect(readFileSync(join(folder, "SHA256SUMS.minisig"), "utf8")).toBe(signature);
  });

  test("that were changed are not what was signed", async () => {
    writeFileSync(join(folder, "SHA256SUMS"), "changed\n");
    const { exitCode, stderr } = await verify("ours");
    expect([exitCode, stderr]).toEqual([1, expect.stringContaining("verification failed")]);
  });

  function key(name: string, suffix: string): string {
    return join(directory, `${name}.${suffix}`);
  }

  async function sign(path: string): Promise<void> {
    const env = { ...process.env, FLANNELD_SIGNING_KEY: path };
    const script = join(RELEASE, "checksums.sh");
    const result = await runProgram("bash", [script, "flanneld 1.2.3", folder], { env });
    expect([result.exitCode, result.stderr]).toEqual([0, ""]);
  }

  async function verify(name: string): Promise<RunResult> {
    return await runProgram("minisign", [
      "-V",
      "-p",
      key(name, "pub"),
      "-m",
      join(folder, "SHA256SUMS"),
    ]);
  }
});

describe("a release", () => {
  let repository = "";

  beforeAll(async () => {
    repository = makeFolder("repository");
    cpSync(RELEASE, join(repository, "deploy/release"), { recursive: true });
    writeFileSync(join(repository, "package.json"), '{"version": "1.2.3"}\n');
    await git("init", "--quiet");
    await git("add", ".");
    await git("-c", "user.name=a", "-c", "user.email=a@example.invalid", "commit", "-qm", "one");
  });

  test("is refused if the tag of the commit is that of another version", async () => {
    await git("tag", "v1.2.2");
    expect(await refusal()).toBe(
      "release.sh: the commit has the tag v1.2.2, but package.json the version 1.2.3\n",
    );
    await git("tag", "--delete", "v1.2.2");
    await git("tag", "v1.2.3");
  });

  test("is refused if its key cannot be read", async () => {
    expect(await refusal({ FLANNELD_SIGNING_KEY: "/none" })).toBe(
      "release.sh: cannot read FLANNELD_SIGNING_KEY, /none\n",
    );
  });

  test("is refused if files differ from the commit", async () => {
    writeFileSync(join(repository, "changed"), "");
    expect(await refusal()).toBe(
      "release.sh: the working tree differs from the commit; commit the changes, or pass " +
        "--allow-dirty\n",
    );
  });

  async function git(...args: string[]): Promise<void> {
    await runCommand("git", ["-C", repository, ...args]);
  }

  async function refusal(env: Record<string, string> = {}): Promise<string> {
    const script = join(repository, "deploy/release/release.sh");
    const options = { env: { ...process.env, ...env } };
    const { exitCode, stdout, stderr } = await runProgram("bash", [script], options);
    expect([exitCode, stdout]).toEqual([1, ""]);
    return stderr;
  }
});

async function makePackages(
  version: string,
  folder: string,
  publisher: Readonly<Record<string, string>> = {},
): Promise<void> {
  const script = join(RELEASE, "packages.sh");
  await output("bash", [script, version, architecture, FLANNELD, makeFolder(folder)], publisher);
}

function debian(version: string, folder = "first"): string {
  return join(directory, folder, `flanneld_${version}_${architecture}.deb`);
}

function rpm(version: string, folder = "first"): string {
  return join(directory, folder, `flanneld-${version}-1.${rpmArchitecture}.rpm`);
}

function makeFolder(name: string): string {
  const path = join(directory, name);
  mkdirSync(path, { recursive: true });
  return path;
}

function sha256(path: string): string {
  return new Bun.CryptoHasher("sha256").update(readFileSync(path)).digest("hex");
}

/** What a program prints. Throws when it fails. */
async function output(
  program: string,
  args: readonly string[],
  variables: Readonly<Record<string, string>> = {},
): Promise<string> {
  const options = { env: { ...ENVIRONMENT, ...variables }, timeoutMs: 120_000 };
  const { exitCode, stdout, stderr } = await runProgram(program, args, options);
  if (exitCode === 0) return stdout;
  throw new Error(`${program} ${args.join(" ")} failed: ${stderr.trim()}`);
}
