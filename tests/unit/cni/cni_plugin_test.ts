/** The plugin's commands, with delegates that are shell scripts. */

import { afterAll, beforeEach, describe, expect, test } from "bun:test";
import {
  chmodSync,
  closeSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { systemClock } from "../../../src/base/clock.ts";
import { runCniPlugin } from "../../../src/cni/cni_plugin.ts";

const directory = mkdtempSync(join(tmpdir(), "flanneld-cni-"));
const [bin, dataDir] = [join(directory, "bin"), join(directory, "data")];
const subnetFile = join(directory, "subnet.env");
/** What the delegate was called with: one line of variables and one of input for each call. */
const calls = join(directory, "calls");

const SUBNET = "FLANNEL_NETWORK=10.5.0.0/16\nFLANNEL_SUBNET=10.5.1.1/24\nFLANNEL_MTU=1450\n" +
  "FLANNEL_IPMASQ=true\n";
const RESULT = '{\n    "cniVersion": "1.1.0",\n    "ips": []\n}';

const CONFIG = { name: "cbr0", cniVersion: "1.1.0", type: "flannel", subnetFile, dataDir };

const ATTACHMENT = {
  CNI_CONTAINERID: "c1",
  CNI_NETNS: "/run/netns/c1",
  CNI_IFNAME: "eth0",
  CNI_ARGS: "K8S_POD_NAME=p",
  CNI_PATH: `/nowhere:${bin}`,
};

beforeEach(() => {
  rmSync(directory, { recursive: true, force: true });
  mkdirSync(bin, { recursive: true });
  writeFileSync(subnetFile, SUBNET);
  delegate(`[ "$CNI_COMMAND" != ADD ] || printf '%s' '${RESULT}'`);
});
afterAll(() => rmSync(directory, { recursive: true, force: true }));

function delegate(script: string, type = "bridge"): void {
  const record =
    'echo "$CNI_COMMAND $CNI_CONTAINERID $CNI_NETNS $CNI_IFNAME $CNI_ARGS" >>"$CALLS"\n' +
    'cat >>"$CALLS"; echo >>"$CALLS"\n';
  writeFileSync(join(bin, type), `#!/bin/sh\n${record}${script}\n`);
  chmodSync(join(bin, type), 0o755);
}

interface Outcome {
  readonly status: number;
  readonly stdout: string;
  readonly stderr: string;
}

async function plugin(
  command: string,
  { config = CONFIG, env = ATTACHMENT }: {
    readonly config?: object | string;
    readonly env?: Readonly<Record<string, string>>;
  } = {},
): Promise<Outcome> {
  const output = { stdout: "", stderr: "" };
  const status = await runCniPlugin({
    environment: { PATH: process.env["PATH"], CALLS: calls, CNI_COMMAND: command, ...env },
    clock: systemClock,
    about: "CNI plugin flannel v1",
    readConfig: () => Promise.resolve(typeof config === "string" ? config : JSON.stringify(config)),
    print: (text) => Promise.resolve(void (output.stdout += text)),
    warn: (text) => void (output.stderr += text),
  });
  return { status, ...output };
}

async function failure(...args: Parameters<typeof plugin>): Promise<unknown> {
  const { status, stdout } = await plugin(...args);
  expect(status).toBe(1);
  return JSON.parse(stdout);
}

function callsMade(): string[] {
  return existsSync(calls) ? readFileSync(calls, "utf8").trimEnd().split("\n") : [];
}

describe("ADD", () => {
  test("prints the delegate's result as it is, and saves its configuration", async () => {
    expect(await plugin("ADD")).toEqual({ status: 0, stdout: RESULT, stderr: "" });
    const [variables, input = ""] = callsMade();
    expect(variables).toBe("ADD c1 /run/netns/c1 eth0 K8S_POD_NAME=p");
    const saved = join(dataDir, "c1");
    expect(JSON.parse(readFileSync(saved, "utf8"))).toEqual({
      ...JSON.parse(input),
      "flanneld/attachment": { containerID: "c1", ifname: "eth0" },
    });
    expect([statSync(saved).mode & 0o777, statSync(dataDir).mode & 0o777]).toEqual([0o600, 0o700]);
    expect(readdirSync(dataDir)).toEqual(["c1"]);
  });

  test("adds the version to a result without one", async () => {
    delegate("echo '{\"ips\":[]}'");
    expect(JSON.parse((await plugin("ADD")).stdout)).toEqual({ ips: [], cniVersion: "1.1.0" });
  });

  test("without the subnet file fails with the words that users know", async () => {
    rmSync(subnetFile);
    expect(await failure("ADD")).toEqual({
      cniVersion: "1.1.0",
      code: 11,
      msg: `loadFlannelSubnetEnv failed: open ${subnetFile}: no such file or directory; ` +
        "the daemon writes it: see the log of flanneld on this node",
    });
    expect(existsSync(dataDir)).toBeFalse();
  });

  test("passes the delegate's own error and its log on, and DEL still works", async () => {
    const error = '{"code": 11, "msg": "no addresses left", "details": "in 10.5.1.0/24"}';
    delegate(`[ "$CNI_COMMAND" = ADD ] || exit 0; echo 'log line' >&2; echo '${error}'; exit 3`);
    expect(await plugin("ADD")).toEqual({
      status: 1,
      stdout: `${error}\n`,
      stderr: "log line\n",
    });
    expect(await plugin("DEL")).toMatchObject({ status: 0 });
    expect(callsMade()[2]).toStartWith("DEL c1");
  });

  test("shows what a delegate says that fails without JSON", async () => {
    delegate("echo 'cannot load' >&2; exit 7");
    expect(await failure("ADD")).toMatchObject({
      code: 999,
      msg: "bridge failed at ADD with status 7: cannot load",
    });
    delegate("exit 7");
    expect(await failure("ADD")).toMatchObject({
      msg: "bridge failed at ADD with status 7: it printed nothing",
    });
    delegate("echo panic; exit 2");
    expect(await failure("ADD")).toMatchObject({
      msg: "bridge failed at ADD with status 2, and what it printed is not JSON: panic",
    });
  });

  test("refuses a result that is not an object as JSON", async () => {
    delegate("echo null");
    expect(await failure("ADD")).toMatchObject({
      code: 6,
      msg: "the delegate's result is null, not a JSON object",
    });
  });

  test("ends a delegate that prints without end", async () => {
    delegate("exec yes");
    expect(await failure("ADD")).toMatchObject({
      msg: expect.stringContaining("it wrote more than 1048576 bytes"),
    });
  });

  test("names the directories in which there is no delegate", async () => {
    rmSync(join(bin, "bridge"));
    expect(await failure("ADD")).toMatchObject({
      msg: `failed to find plugin "bridge" in path [/nowhere ${bin}]; install the ` +
        "containernetworking plugins there",
    });
  });

  test("waits for a delegate that is being installed", async () => {
    const program = join(bin, "bridge");
    writeFileSync(program, readFileSync("/bin/true"));
    const writer = openSync(program, "r+");
    setTimeout(() => {
      closeSync(writer);
      delegate(`printf '%s' '${RESULT}'`);
    }, 200);
    expect(await plugin("ADD")).toMatchObject({ status: 0, stdout: RESULT });
  });
});

describe("DEL", () => {
  test("uses the saved configuration, whatever the subnet file says by then", async () => {
    await plugin("ADD");
    rmSync(subnetFile);
    const { CNI_NETNS: _, ...env } = ATTACHMENT;
    expect(await plugin("DEL", { env })).toEqual({ status: 0, stdout: "", stderr: "" });
    const [, added, variables, deleted] = callsMade();
    expect(variables).toBe("DEL c1  eth0 K8S_POD_NAME=p");
    expect(deleted).toBe(added as string);
    expect(readdirSync(dataDir)).toEqual([]);
  });

  test("of what was deleted, or never added, is success without a delegate", async () => {
    expect(await plugin("DEL")).toMatchObject({ status: 0, stdout: "" });
    await plugin("ADD");
    await plugin("DEL");
    expect(await plugin("DEL")).toMatchObject({ status: 0, stdout: "" });
    expect(callsMade().filter((line) => line.startsWith("DEL"))).toHaveLength(1);
  });

  test.each([[["eth0", "net1"]], [["net1", "eth0"]]])(
    "of two interfaces of one container deletes both, in the order %p",
    async (order) => {
      const of = (CNI_IFNAME: string) => ({ env: { ...ATTACHMENT, CNI_IFNAME } });
      for (const name of ["eth0", "net1", "eth0"]) await plugin("ADD", of(name));
      expect(readdirSync(dataDir).sort()).toEqual(["c1", "c1.net1"]);
      rmSync(calls);
      for (const name of [...order, ...order]) {
        expect(await plugin("DEL", of(name))).toMatchObject({ status: 0 });
      }
      expect(callsMade().filter((line) => line.startsWith("DEL"))).toEqual(
        order.map((name) => `DEL c1 /run/netns/c1 ${name} K8S_POD_NAME=p`),
      );
      expect(readdirSync(dataDir)).toEqual([]);
    },
  );

  test("of two interfaces that were added at the same time deletes both", async () => {
    const of = (CNI_IFNAME: string) => ({ env: { ...ATTACHMENT, CNI_IFNAME } });
    for (let i = 0; i < 5; i++) {
      await Promise.all(["eth0", "net1", "net2", "net2"].map((name) => plugin("ADD", of(name))));
      rmSync(calls);
      for (const name of ["eth0", "net1", "net2"]) await plugin("DEL", of(name));
      expect(callsMade().filter((line) => line.startsWith("DEL"))).toHaveLength(3);
      expect(readdirSync(dataDir)).toEqual([]);
    }
  });

  test("of a container with a long ID needs no file for its second interface", async () => {
    const env = { ...ATTACHMENT, CNI_CONTAINERID: "c".repeat(230), CNI_IFNAME: "a23456789012345" };
    for (const command of ["ADD", "ADD", "DEL", "DEL"]) {
      expect(await plugin(command, { env })).toMatchObject({ status: 0 });
    }
    const tooLong = { ...env, CNI_CONTAINERID: "c".repeat(250) };
    expect(await plugin("DEL", { env: tooLong })).toMatchObject({ status: 0 });
  });

  test("takes no file of another container for that of its second interface", async () => {
    mkdirSync(dataDir);
    writeFileSync(join(dataDir, "c1.eth0"), '{"name":"cbr0","type":"bridge"}');
    expect(await plugin("DEL")).toMatchObject({ status: 0 });
    expect([callsMade(), readdirSync(dataDir)]).toEqual([[], ["c1.eth0"]]);
  });

  test("that fails can be repeated", async () => {
    await plugin("ADD");
    delegate('echo \'{"code":5,"msg":"busy"}\'; exit 1');
    expect(await failure("DEL")).toEqual({ code: 5, msg: "busy" });
    delegate("exit 0");
    expect(await plugin("DEL")).toMatchObject({ status: 0 });
    expect(readdirSync(dataDir)).toEqual([]);
  });

  test("works for what Go's plugin has saved", async () => {
    mkdirSync(dataDir);
    writeFileSync(join(dataDir, "c1"), '{"name":"cbr0","type":"bridge"}');
    expect(await plugin("DEL")).toMatchObject({ status: 0 });
    expect(callsMade()).toEqual([
      "DEL c1 /run/netns/c1 eth0 K8S_POD_NAME=p",
      '{"name":"cbr0","type":"bridge"}',
    ]);
  });

  test("of a damaged file removes it: a container would never be deleted", async () => {
    mkdirSync(dataDir);
    for (const text of ["", "{", "[]", "null", '{"type":3}']) {
      writeFileSync(join(dataDir, "c1"), text);
      expect(await plugin("DEL")).toEqual({
        status: 0,
        stdout: "",
        stderr: `flannel: ${dataDir}/c1 is damaged; its address is not released\n`,
      });
      expect(readdirSync(dataDir)).toEqual([]);
    }
  });
});

describe("CHECK", () => {
  test("passes the result of ADD to the delegate", async () => {
    await plugin("ADD");
    const prevResult = JSON.parse(RESULT);
    expect(await plugin("CHECK", { config: { ...CONFIG, prevResult } })).toEqual({
      status: 0,
      stdout: "",
      stderr: "",
    });
    const [, added = "", variables, checked = ""] = callsMade();
    expect(variables).toStartWith("CHECK c1");
    expect(JSON.parse(checked)).toEqual({ ...JSON.parse(added), prevResult });
  });

  test("fails for a container that was not added", async () => {
    expect(await failure("CHECK")).toMatchObject({
      code: 3,
      msg: `${dataDir}/c1 is missing: this plugin did not add the container, or it is deleted`,
    });
  });
});

describe("STATUS", () => {
  test("is that of the delegate", async () => {
    expect(await plugin("STATUS")).toMatchObject({ status: 0, stdout: "" });
    delegate('echo \'{"code":50,"msg":"ipam is down"}\'; exit 1');
    expect(await failure("STATUS")).toEqual({ code: 50, msg: "ipam is down" });
  });

  test("is not available without a subnet file", async () => {
    writeFileSync(subnetFile, "FLANNEL_MTU=1450\n");
    expect(await failure("STATUS")).toMatchObject({
      code: 50,
      msg: expect.stringContaining(`loadFlannelSubnetEnv failed: ${subnetFile} is missing`),
    });
    expect(callsMade()).toEqual([]);
  });
});

describe("GC", () => {
  async function add(containerId: string, interfaceName = "eth0", name = "cbr0"): Promise<void> {
    const env = { ...ATTACHMENT, CNI_CONTAINERID: containerId, CNI_IFNAME: interfaceName };
    await plugin("ADD", { env, config: { ...CONFIG, name } });
  }

  const valid = (...attachments: readonly [string, string][]) => ({
    ...CONFIG,
    "cni.dev/valid-attachments": attachments.map(([containerID, ifname]) => ({
      containerID,
      ifname,
    })),
  });

  const env = { CNI_PATH: bin };

  test("deletes the containers of this network that are not valid, and only those", async () => {
    await add("kept");
    await add("gone", "net1");
    await add("kept", "net2");
    await add("moved", "eth0");
    await add("other", "eth0", "other-network");
    writeFileSync(join(dataDir, "go"), '{"name":"cbr0","type":"bridge"}');
    writeFileSync(join(dataDir, "damaged"), "{");
    rmSync(calls);
    const config = valid(["kept", "eth0"], ["moved", "eth1"]);
    expect(await plugin("GC", { config, env })).toMatchObject({ status: 0, stdout: "" });
    expect(readdirSync(dataDir).sort()).toEqual(["damaged", "kept", "other"]);
    const lines = callsMade();
    expect(lines.filter((line) => !line.startsWith("{"))).toEqual([
      "DEL go  eth0 ",
      "DEL gone  net1 ",
      "DEL kept  net2 ",
      "DEL moved  eth0 ",
      "GC    ",
    ]);
    expect(JSON.parse(lines.at(-1) as string)).toMatchObject({
      type: "bridge",
      "cni.dev/valid-attachments": config["cni.dev/valid-attachments"],
    });
  });

  test("deletes all of them if none is valid, and none if the runtime does not say", async () => {
    await add("c1");
    expect(await plugin("GC", { env })).toMatchObject({ status: 0 });
    expect(readdirSync(dataDir)).toEqual(["c1"]);
    const none = { ...CONFIG, "cni.dev/valid-attachments": null };
    expect(await plugin("GC", { config: none, env })).toMatchObject({ status: 0 });
    expect(readdirSync(dataDir)).toEqual([]);
  });

  test("continues after a failure, and works without a subnet file", async () => {
    await add("c1");
    await add("c2");
    rmSync(subnetFile);
    delegate('[ "$CNI_CONTAINERID" != c1 ] || { echo \'{"code":5,"msg":"busy"}\'; exit 1; }');
    expect(await failure("GC", { config: valid(), env })).toEqual({ code: 5, msg: "busy" });
    expect(readdirSync(dataDir)).toEqual(["c1"]);
    expect(callsMade().at(-2)).toBe("GC    ");
  });
});

describe("a request", () => {
  test("VERSION needs no configuration", async () => {
    const { status, stdout } = await plugin("VERSION", { env: {}, config: "none" });
    expect([status, JSON.parse(stdout)]).toEqual([0, {
      cniVersion: "1.1.0",
      supportedVersions: ["0.1.0", "0.2.0", "0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"],
    }]);
  });

  test("without a command shows what the program is", async () => {
    expect(await plugin("")).toEqual({
      status: 0,
      stdout: "",
      stderr: "CNI plugin flannel v1\n" +
        "CNI versions: 0.1.0, 0.2.0, 0.3.0, 0.3.1, 0.4.0, 1.0.0, 1.1.0\n",
    });
  });

  test.each([
    ["CNI_CONTAINERID", "", "required variables are missing: CNI_CONTAINERID"],
    ["CNI_PATH", "", "required variables are missing: CNI_PATH"],
    ["CNI_COMMAND", "ad", 'unknown CNI_COMMAND: "ad"'],
    [
      "CNI_CONTAINERID",
      "../../etc/passwd",
      'CNI_CONTAINERID is "../../etc/passwd"; it may have letters, digits, "_", "." and "-"',
    ],
    ["CNI_IFNAME", "eth0/1", 'CNI_IFNAME is "eth0/1", not the name of an interface'],
    ["CNI_IFNAME", "..", 'CNI_IFNAME is "..", not the name of an interface'],
    [
      "CNI_IFNAME",
      "a234567890123456",
      'CNI_IFNAME is "a234567890123456", not the name of an interface',
    ],
  ])("with %s=%s is refused", async (name, value, msg) => {
    expect(await failure("ADD", { env: { ...ATTACHMENT, [name]: value } })).toEqual({
      code: 4,
      msg,
    });
    expect(callsMade()).toEqual([]);
  });

  test("that lacks several variables names all of them", async () => {
    expect(await failure("ADD", { env: {} })).toEqual({
      code: 4,
      msg: "required variables are missing: CNI_CONTAINERID, CNI_NETNS, CNI_IFNAME, CNI_PATH",
    });
  });

  test.each([
    ["nothing", "", 6, /^the network configuration is not JSON: /],
    ["a list", "[]", 6, /^the network configuration is \[\], not a JSON object$/],
    ["100 levels", "[".repeat(100), 6, /^the network configuration is nested 100 levels deep, /],
    ["no name", "{}", 7, /^the network configuration has no name$/],
    ["a path as its name", '{"name":"a/b"}', 7, /^the network's name is "a\/b"; it may have /],
    ["a later version", '{"name":"a","cniVersion":"2.0.0"}', 1, /^incompatible CNI versions$/],
    ["a number as version", '{"name":"a","cniVersion":1}', 6, /^cniVersion is 1; it must be a /],
    ["a list as path", '{"name":"a","subnetFile":[]}', 6, /^subnetFile is \[\]; it must be a /],
    ["a text as ipam", '{"name":"a","ipam":"x"}', 6, /^ipam is "x"; it must be an object$/],
    [
      "attachments without names",
      '{"name":"a","cni.dev/valid-attachments":[{}]}',
      6,
      /^cni.dev\/valid-attachments is \{\}; it must be a list of objects with containerID and /,
    ],
  ])("whose configuration is %s is refused", async (_, config, code, msg) => {
    expect(await failure("ADD", { config })).toMatchObject({
      code,
      msg: expect.stringMatching(msg),
    });
    expect(callsMade()).toEqual([]);
  });

  test.each([["CHECK", "0.3.1"], ["STATUS", "1.0.0"], ["GC", "1.0.0"]])(
    "%s is refused by version %s, which does not have it",
    async (command, cniVersion) => {
      expect(await failure(command, { config: { ...CONFIG, cniVersion } })).toMatchObject({
        cniVersion,
        code: 1,
        msg: expect.stringContaining(`config version does not allow ${command}`),
      });
    },
  );

  test.each(["0.1.0", "0.2.0", "0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"])(
    "of version %s is passed on in that version",
    async (cniVersion) => {
      expect(await plugin("ADD", { config: { ...CONFIG, cniVersion } })).toMatchObject({
        status: 0,
      });
      expect(JSON.parse(callsMade()[1] as string)).toMatchObject({ cniVersion });
    },
  );
});
