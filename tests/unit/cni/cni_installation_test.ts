/** Installing the plugin and its list of plugins. */

import { afterAll, beforeEach, describe, expect, test } from "bun:test";
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { readFlags } from "../../../src/cli/flag_reader.ts";
import { installCniCommand } from "../../../src/cli/install_cni_command.ts";
import { INSTALL_CNI_FLAGS } from "../../../src/cli/install_cni_flags.ts";
import { installConf } from "../../../src/cli/install_conf.ts";

const directory = mkdtempSync(join(tmpdir(), "flanneld-install-"));
const [confDir, binDir] = [join(directory, "net.d"), join(directory, "bin")];
const [conf, program] = [join(directory, "cni-conf.json"), join(directory, "flanneld")];
const target = join(confDir, "10-flannel.conflist");

const CONFLIST = JSON.stringify({
  name: "cbr0",
  cniVersion: "0.3.1",
  plugins: [
    { type: "flannel", delegate: { hairpinMode: true, isDefaultGateway: true } },
    { type: "portmap", capabilities: { portMappings: true } },
  ],
});

beforeEach(() => {
  rmSync(directory, { recursive: true, force: true });
  mkdirSync(directory);
  writeFileSync(conf, CONFLIST);
  writeFileSync(program, "one version");
});
afterAll(() => rmSync(directory, { recursive: true, force: true }));

const DEFAULTS = readFlags(INSTALL_CNI_FLAGS, [], {});

async function install(
  options: Partial<typeof DEFAULTS> = {},
): Promise<{ status: number; stdout: string; stderr: string }> {
  const output = { stdout: "", stderr: "" };
  const paths = { conf, confDir, binDir };
  const status = await installCniCommand({ ...DEFAULTS, ...paths, ...options }, [program], {
    out: (text) => Promise.resolve(void (output.stdout += text)),
    err: (text) => void (output.stderr += text),
  });
  return { status, ...output };
}

describe("install-cni", () => {
  test("copies both, and creates the directories", async () => {
    expect(await install()).toEqual({
      status: 0,
      stdout: `installed ${binDir}/flannel\ninstalled ${target}\n`,
      stderr: "",
    });
    expect(readFileSync(target, "utf8")).toBe(CONFLIST);
    expect(readFileSync(join(binDir, "flannel"), "utf8")).toBe("one version");
    expect(statSync(target).mode & 0o777).toBe(0o644);
    expect(statSync(join(binDir, "flannel")).mode & 0o777).toBe(0o755);
    expect([readdirSync(confDir), readdirSync(binDir)]).toEqual([["10-flannel.conflist"], [
      "flannel",
    ]]);
  });

  test("replaces only what differs", async () => {
    await install();
    const before = [target, join(binDir, "flannel")].map((path) => statSync(path).ino);
    expect(await install()).toMatchObject({
      stdout: `${binDir}/flannel is up to date\n${target} is up to date\n`,
    });
    expect([target, join(binDir, "flannel")].map((path) => statSync(path).ino)).toEqual(before);
    // The same size: the content counts.
    writeFileSync(program, "two version");
    expect(await install()).toMatchObject({
      stdout: `installed ${binDir}/flannel\n${target} is up to date\n`,
    });
    expect(readFileSync(join(binDir, "flannel"), "utf8")).toBe("two version");
    chmodSync(join(binDir, "flannel"), 0o644);
    await install();
    expect(statSync(join(binDir, "flannel")).mode & 0o777).toBe(0o755);
  });

  test("installs only one of them by a flag", async () => {
    expect(await install({ skipPlugin: true })).toMatchObject({ stdout: `installed ${target}\n` });
    expect(existsSync(binDir)).toBeFalse();
    rmSync(conf);
    expect(await install({ skipConf: true })).toMatchObject({
      status: 0,
      stdout: `installed ${binDir}/flannel\n`,
    });
  });

  test("removes the copies that a killed one has left, but not that of a running one", async () => {
    mkdirSync(binDir);
    const [old, recent] = ["0123456789abcdef", "fedcba9876543210"].map((suffix) =>
      join(binDir, `flannel.${suffix}.tmp`)
    );
    for (const path of [old, recent, join(binDir, "flannel.tmp")]) writeFileSync(path ?? "", "x");
    const anHourAgo = new Date(Date.now() - 3_600_000);
    for (const path of [old, join(binDir, "flannel.tmp")]) {
      utimesSync(path ?? "", anHourAgo, anHourAgo);
    }
    await install();
    expect(readdirSync(binDir).sort()).toEqual([
      "flannel",
      "flannel.fedcba9876543210.tmp",
      "flannel.tmp",
    ]);
  });

  test("names a configuration that the runtime prefers", async () => {
    mkdirSync(confDir);
    for (const name of ["05-other.conflist", "00-readme.txt", "20-later.conf"]) {
      writeFileSync(join(confDir, name), "{}");
    }
    expect(await install()).toMatchObject({
      status: 0,
      stderr: `flanneld install-cni: container runtimes use 05-other.conflist in ${confDir}, ` +
        "because its name comes before 10-flannel.conflist; remove it if pods should use flannel\n",
    });
  });

  test.each([
    ["[", /the list of plugins is not JSON: /],
    ['{"name":"a"}', /it has no key plugins; a single plugin belongs into /],
    ['{"name":"a","plugins":{}}', /plugins is \{\}, not a list$/],
    ['{"name":"a","plugins":[]}', /none of its plugins has the type flannel$/],
    ['{"name":"a","plugins":[{"type":"flannel"},{}]}', /plugin 2 of it has no type$/],
    ['{"plugins":[{"type":"flannel"}]}', /the network configuration has no name$/],
    [
      '{"name":"a","cniVersion":"9.0.0","plugins":[{"type":"flannel"}]}',
      /incompatible CNI versions$/,
    ],
    [
      '{"name":"a","plugins":[{"type":"flannel","delegate":{"name":"x"}}]}',
      /delegate has the key name, which flannel sets itself; remove it$/,
    ],
  ])("refuses the list %s and keeps the installed one", async (text, reason) => {
    await install();
    writeFileSync(conf, text);
    const { status, stderr } = await install();
    expect(status).toBe(1);
    expect(stderr.trimEnd()).toMatch(reason);
    expect(stderr).toStartWith(`flanneld install-cni: cannot install ${conf} as ${target}: `);
    expect(readFileSync(target, "utf8")).toBe(CONFLIST);
  });

  test("says which file is missing", async () => {
    rmSync(conf);
    expect(await install({ skipPlugin: true })).toEqual({
      status: 1,
      stdout: "",
      stderr: `flanneld install-cni: cannot install ${conf} as ${target}: ENOENT: no such file ` +
        `or directory, stat '${conf}'\n`,
    });
  });

  test("cannot install itself from source", async () => {
    let stderr = "";
    const output = { out: () => Promise.resolve(), err: (text: string) => void (stderr += text) };
    expect(await installCniCommand({ ...DEFAULTS, binDir }, ["bun", "main.ts"], output)).toBe(1);
    expect(stderr).toContain("only the compiled executable can install itself");
  });
});

describe("install-conf", () => {
  test("copies any file with its mode, through no symbolic link", async () => {
    mkdirSync(confDir);
    writeFileSync(conf, "any text");
    chmodSync(conf, 0o600);
    writeFileSync(join(directory, "elsewhere"), "old");
    symlinkSync(join(directory, "elsewhere"), target);
    expect(await installConf({ source: conf, target }, () => undefined)).toBe(0);
    expect(readFileSync(target, "utf8")).toBe("any text");
    expect(statSync(target).mode & 0o777).toBe(0o600);
    expect(readFileSync(join(directory, "elsewhere"), "utf8")).toBe("old");
  });

  test("says what it could not copy", async () => {
    const lines: string[] = [];
    rmSync(conf);
    const copy = { source: conf, target };
    expect(await installConf(copy, (text) => void lines.push(text))).toBe(1);
    expect(lines[0]).toStartWith(`install-conf: cannot install ${conf} as ${target}: ENOENT`);
  });
});
