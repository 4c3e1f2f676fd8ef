/**
 * deploy/install.sh, and the script of deploy/cloud-init, where no whole machine is needed: in a
 * copy of this machine's files, from a release host on loopback.
 */

import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "bun:test";
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parse } from "yaml";
import type { RunResult } from "../../src/process/run_program.ts";
import { ConnectProxy } from "../support/connect_proxy.ts";
import {
  INSTALL_SCRIPT,
  RELEASE_HOST,
  ReleaseHost,
  writeRelease,
} from "../support/machines/release_host.ts";
import { OverlayRoot } from "../support/overlay_root.ts";
import { eventually } from "../support/wait.ts";

const DEPLOY = new URL("../../deploy/", import.meta.url).pathname;
const EXECUTABLE = "/usr/local/bin/flanneld";
const CERTIFICATES = "/etc/ssl/certs/ca-certificates.crt";
/** In place of the executable, which the script only starts with --version. */
const SHOW_CALL = '#!/bin/sh\n[ "$1" != --version ] || exec echo v1\n' +
  'echo "called: flanneld $*"\nenv | grep ^FLANNEL\n';

let releases: string;
let host: ReleaseHost;
let root: OverlayRoot;
/** What the host answers instead of a file. */
let respond: (pathname: string) => Response | Promise<Response> | undefined;

beforeAll(async () => {
  releases = mkdtempSync(join(tmpdir(), "releases-"));
  await writeRelease(join(releases, "v1"), { script: SHOW_CALL });
  writeFileSync(join(releases, "stable"), "v1\n");
  host = new ReleaseHost(releases, { address: "127.0.0.1", respond: (path) => respond(path) });
}, 60_000);

afterAll(async () => {
  await host?.[Symbol.asyncDispose]();
  rmSync(releases, { recursive: true, force: true });
});

beforeEach(async () => {
  respond = () => undefined;
  host.requests.length = 0;
  root = await OverlayRoot.create();
  root.remove(EXECUTABLE, "/usr/bin/flanneld", "/etc/flanneld", "/etc/NetworkManager");
  root.write("/root/install.sh", readFileSync(INSTALL_SCRIPT));
  const certificates = existsSync(CERTIFICATES) ? readFileSync(CERTIFICATES, "utf8") : "";
  root.write(CERTIFICATES, certificates + await host.caCertificate());
});

afterEach(() => root[Symbol.asyncDispose]());

describe.each([["curl", "wget"], ["wget", "curl"]])("with %s", (_name, other) => {
  beforeEach(() => root.remove(`/usr/bin/${other}`));

  test("a mirror may redirect to https, and not to http", async () => {
    const path = (pathname: string) => pathname.replace(/^\/moved/, "");
    respond = (pathname) =>
      pathname.startsWith("/moved") ? moved(`${host.url}${path(pathname)}`) : undefined;
    const { exitCode, stdout } = await install([], {
      INSTALL_FLANNELD_MIRROR: `${host.url}/moved`,
    });
    expect({ exitCode, stdout }).toEqual({
      exitCode: 0,
      stdout: expect.stringContaining(`wrote ${EXECUTABLE}\n`),
    });
    expect(host.requests).toContain("/moved/v1/SHA256SUMS");

    using plain = Bun.serve({ hostname: "127.0.0.1", port: 0, fetch: () => new Response("v1\n") });
    respond = () => moved(`http://127.0.0.1:${plain.port}/stable`);
    const refused = await install(["--version", "v2"]);
    expect(refused).toMatchObject({ exitCode: 1, stdout: "" });
    expect(refused.stderr).toMatch(
      /^install\.sh: cannot download https:\S+: .*(Protocol "?http\b|redirects to http;).*\n$/,
    );
  }, 60_000);

  test("https_proxy and no_proxy are respected", async () => {
    await using proxy = await ConnectProxy.create({ host: "127.0.0.1", port: 443 });
    const dryRun = (mirror: string, env: Readonly<Record<string, string>>) =>
      install(["--dry-run"], { INSTALL_FLANNELD_MIRROR: mirror, ...env });
    const throughProxy = await dryRun(`https://${RELEASE_HOST}`, { https_proxy: proxy.url });
    expect(throughProxy.stdout).toContain(`would write ${EXECUTABLE}\n`);
    expect(new Set(proxy.targets)).toEqual(new Set([`${RELEASE_HOST}:443`]));
    expect(host.requests).toContain("/v1/SHA256SUMS");

    const closed = { https_proxy: "http://127.0.0.1:1" };
    const direct = await dryRun(host.url, { ...closed, no_proxy: "192.0.2.1,127.0.0.1" });
    expect(direct.stdout).toContain(`would write ${EXECUTABLE}\n`);
    expect(await dryRun(host.url, closed)).toMatchObject({ exitCode: 1, stdout: "" });
  }, 60_000);

  test(
    "what the mirror does not have, and a host that no CA vouches for, is one line",
    async () => {
      const missing = await install(["--version", "v9"]);
      expect(missing).toMatchObject({ exitCode: 1, stdout: "" });
      expect(missing.stderr).toMatch(
        /^install\.sh: cannot download https:\S+\/v9\/SHA256SUMS: .*404.*; check the mirror, .*\n$/,
      );
      root.write(CERTIFICATES, "");
      const unknown = await install([]);
      expect(unknown).toMatchObject({ exitCode: 1, stdout: "" });
      expect(unknown.stderr).toMatch(/^install\.sh: cannot download https:.*certificate.*\n$/);
    },
    60_000,
  );
});

test("without curl and wget, one line says what to do", async () => {
  root.remove("/usr/bin/curl", "/usr/bin/wget");
  expect(await install([])).toMatchObject({
    exitCode: 1,
    stdout: "",
    stderr: "install.sh: curl is missing (or GNU wget); install it, or download the release and " +
      "use --from\n",
  });
});

test("every file that it writes gets its SELinux label, also at a rollback", async () => {
  root.write("/usr/local/sbin/restorecon", '#!/bin/sh\necho "$@" >>/root/labels\n', 0o755);
  const { stdout } = await install(["--node", "--datastore"], { FLANNELD_IFACE: "eth1" });
  const written = [...stdout.matchAll(/^install\.sh: wrote (\S+)$/gm)].map(([, path]) => path);
  expect(written).toContain(EXECUTABLE);
  expect(written).toContain("/etc/flanneld/flanneld.env");
  const labels = () => readFileSync(join(root.path, "root/labels"), "utf8").trim().split("\n");
  expect(labels().toSorted()).toEqual(written.toSorted() as string[]);

  root.remove("/root/labels");
  root.write("/etc/systemd/system/flanneld.service", "an older one\n");
  root.write("/usr/local/share/man/man8/flanneld.8", "an older one\n");
  root.write("/usr/bin/systemctl", "#!/bin/sh\nexit 1\n", 0o755);
  const failed = await install([]);
  expect(failed.exitCode).toBe(1);
  const paths = ["/etc/systemd/system/flanneld.service", "/usr/local/share/man/man8/flanneld.8"];
  for (const path of paths) {
    expect(readFileSync(join(root.path, path), "utf8")).toBe("an older one\n");
    expect(labels().filter((one) => one === path)).toEqual([path, path]);
  }
}, 60_000);

test("of two at once, one installs, and the other one says that it does not", async () => {
  const held = Promise.withResolvers<void>();
  respond = (pathname) =>
    pathname === "/stable" ? held.promise.then(() => new Response("v1\n")) : undefined;
  const first = install([]);
  await eventually("the first one downloads", 30_000, () => host.requests.includes("/stable"));
  const refusal = "install.sh: another install.sh is running; run this again when it has ended\n";
  for (const args of [["--version", "v1"], ["--uninstall"]]) {
    expect(await install(args)).toMatchObject({ exitCode: 1, stdout: "", stderr: refusal });
  }
  held.resolve();
  expect(await first).toMatchObject({ exitCode: 0, stderr: "" });
  expect((await install([])).stdout).toBe(NOT_STARTED + "install.sh: nothing to change\n");
}, 60_000);

describe("without systemd", () => {
  test("it says what to run, and that runs with the settings", async () => {
    root.remove("/usr/bin/systemctl");
    const flags = "--listen 192.0.2.1 --network 10.5.0.0/16";
    const settings = { FLANNELD_IFACE_REGEX: "^\\w+1$ `x`", FLANNEL_DATASTORE_FLAGS: flags };
    const { exitCode, stdout } = await install(["--node", "--datastore"], settings);
    expect(exitCode).toBe(0);
    expect(stdout).not.toContain("/etc/systemd/system");
    const calls = [...stdout.matchAll(/there is no systemd here; to run \S+ as root: (.*)$/gm)];
    const shown = await Promise.all(
      calls.map(([, command = ""]) => root.run(["sh", "-c", command])),
    );
    expect(shown.map((one) => one.stdout)).toEqual([
      `called: flanneld datastore ${flags}\nFLANNEL_DATASTORE_FLAGS=${flags}\n`,
      `called: flanneld \nFLANNELD_IFACE_REGEX=${settings.FLANNELD_IFACE_REGEX}\n`,
    ]);
  }, 60_000);

  test("that has not booted, the units are enabled", async () => {
    const { stdout } = await install([]);
    expect(stdout).toContain(NOT_STARTED);
    const wants = join(root.path, "etc/systemd/system/multi-user.target.wants");
    expect(readdirSync(wants)).toContain("flanneld.service");
  }, 60_000);
});

test(
  "a node without iptables gets one line about it, and a datastore does not need it",
  async () => {
    const program = (await root.run(["sh", "-c", "command -v iptables"])).stdout.trim();
    root.remove(program, "/usr/sbin/iptables", "/sbin/iptables");
    const line =
      "install.sh: iptables is missing; install it, unless the network's configuration " +
      "has EnableNFTables\n";
    const lines = async (args: string[]) => (await install(["--dry-run", ...args])).stdout;
    expect(await lines(["--node"])).toContain(line);
    expect(await lines(["--datastore"])).not.toContain("iptables");
  },
  60_000,
);

describe.each(["datastore.yaml", "node.yaml"])("the script of cloud-init's %s", (name) => {
  let script: string;

  beforeEach(() => {
    const { runcmd, write_files } = parse(readFileSync(join(DEPLOY, "cloud-init", name), "utf8"));
    script = runcmd[0];
    for (const { path, content } of write_files) {
      const filled = content.replace("https://MIRROR", host.url).replace("=VERSION", "=v1");
      root.write(path, filled);
    }
  });

  test("installs, also from a mirror that redirects", async () => {
    respond = (path) =>
      path === "/v1/install.sh"
        ? moved(`${host.url}/elsewhere`)
        : path === "/elsewhere"
        ? new Response(Bun.file(INSTALL_SCRIPT))
        : undefined;
    expect(await run()).toMatchObject({ exitCode: 0, stderr: "" });
    expect(existsSync(join(root.path, EXECUTABLE))).toBe(true);
    expect(existsSync(join(root.path, "etc/flanneld/install.env"))).toBe(false);
    expect(readFileSync(join(root.path, "etc/flanneld/flanneld.env"), "utf8"))
      .toContain("FLANNELD_JOIN=TOKEN@ADDRESS\n");
  }, 60_000);

  test("refuses an install.sh that is empty, cut off, or another page", async () => {
    const text = readFileSync(INSTALL_SCRIPT, "utf8");
    const wrong = [
      "",
      text.slice(0, -15),
      text.slice(0, text.length / 2),
      "<html>sign in</html>\n",
    ];
    for (const body of wrong) {
      respond = () => new Response(body);
      expect(await run()).toMatchObject({
        exitCode: 1,
        stdout: "",
        stderr: `flanneld was not installed: ${host.url}/v1/install.sh is not install.sh, or was ` +
          "cut off; check the mirror\n",
      });
    }
    expect(existsSync(join(root.path, "etc/flanneld/install.env"))).toBe(true);
  }, 60_000);

  test("does not follow a mirror to http", async () => {
    respond = () => moved("http://127.0.0.1:1/install.sh");
    const { exitCode, stderr } = await run();
    expect(exitCode).toBe(1);
    expect(stderr).toMatch(
      /^flanneld was not installed: cannot download https:\S+: .*Protocol "?http\b.*\n$/,
    );
  }, 60_000);

  function run(): Promise<RunResult> {
    return root.run(["sh", "-c", script]);
  }
});

/** Where systemd does not run. */
const NOT_STARTED =
  "install.sh: started nothing; on a running system: systemctl enable --now flanneld\n";

function moved(location: string): Response {
  return new Response(null, { status: 302, headers: { location } });
}

function install(
  args: readonly string[],
  env: Readonly<Record<string, string>> = {},
): Promise<RunResult> {
  const variables = { INSTALL_FLANNELD_MIRROR: host.url, ...env };
  return root.run(["sh", "/root/install.sh", ...args], variables);
}
