import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import {
  lstat,
  mkdtemp,
  readdir,
  readFile,
  rm,
  stat,
  symlink,
  truncate,
  utimes,
  writeFile,
} from "node:fs/promises";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import type { Prefix } from "../../../src/addr/prefix.ts";
import { RegularFileError } from "../../../src/base/regular_file.ts";
import { runProgram } from "../../../src/process/run_program.ts";
import {
  bridgeAddress,
  checkSubnetFile,
  formatSubnetFile,
  parsePreviousSubnetFile,
  parseSubnetFile,
  readSubnetFile,
  type SubnetFile,
  SubnetFileError,
  writeSubnetFile,
} from "../../../src/subnet/subnet_file.ts";

const DUAL: SubnetFile = {
  networks: { 4: "10.5.0.0/16" as Prefix, 6: "2001:cafe:42::/56" as Prefix },
  subnets: { 4: "10.5.72.0/24" as Prefix, 6: "2001:cafe:42::/64" as Prefix },
  mtuBytes: 1450,
  ipMasq: false,
};

const DUAL_TEXT = `FLANNEL_NETWORK=10.5.0.0/16
FLANNEL_SUBNET=10.5.72.1/24
FLANNEL_IPV6_NETWORK=2001:cafe:42::/56
FLANNEL_IPV6_SUBNET=2001:cafe:42::1/64
FLANNEL_MTU=1450
FLANNEL_IPMASQ=false
`;

function parse(text: string): { file: unknown; warnings: string[] } {
  const warnings: string[] = [];
  return { file: parsePreviousSubnetFile(text, (line) => warnings.push(line)), warnings };
}

function thrownBy(act: () => void): unknown {
  try {
    act();
  } catch (error) {
    return error;
  }
  return undefined;
}

describe("the subnet file's text", () => {
  test("has flannel's names in flannel's order", () => {
    expect(formatSubnetFile(DUAL)).toBe(DUAL_TEXT);
  });

  test("leaves out the family that is not enabled", () => {
    const ipv6: SubnetFile = {
      networks: { 6: "fc00::/48" as Prefix },
      subnets: { 6: "fc00:0:0:34::/64" as Prefix },
      mtuBytes: 1430,
      ipMasq: true,
    };
    expect(formatSubnetFile(ipv6)).toBe(
      "FLANNEL_IPV6_NETWORK=fc00::/48\nFLANNEL_IPV6_SUBNET=fc00:0:0:34::1/64\n" +
        "FLANNEL_MTU=1430\nFLANNEL_IPMASQ=true\n",
    );
  });

  test("is read back to the networks and subnets that were written", () => {
    const { networks, subnets } = DUAL;
    expect(parse(formatSubnetFile(DUAL))).toEqual({ file: { networks, subnets }, warnings: [] });
  });

  test("may be quoted, commented, exported and in DOS line ends", () => {
    const text = '# made by hand\r\n\r\nexport FLANNEL_NETWORK = "10.5.0.0/16"\r\n' +
      "FLANNEL_SUBNET='10.5.72.1/24'\r\nOTHER=x\r\n";
    expect(parse(text)).toEqual({
      file: { networks: { 4: "10.5.0.0/16" }, subnets: { 4: "10.5.72.0/24" } },
      warnings: [],
    });
  });

  test("an invalid line is skipped with a warning and affects no other line", () => {
    const text = "FLANNEL_NETWORK\n=\n[x=y]\nFLANNEL_SUBNET=10.5.72.1/24,10.6.0.1/24\n" +
      "FLANNEL_SUBNET=export 10.5.72.1/24\n[x]\n" +
      "FLANNEL_IPV6_SUBNET=10.5.72.1/24\nFLANNEL_IPV6_NETWORK=fc00::/48\n";
    expect(parse(text)).toEqual({
      file: { networks: { 6: "fc00::/48" }, subnets: {} },
      warnings: [
        "line 1 is not NAME=value; skipping it",
        "line 2 is not NAME=value; skipping it",
        "line 3 is not NAME=value; skipping it",
        'FLANNEL_SUBNET is "10.5.72.1/24,10.6.0.1/24", not one IPv4 network; skipping it',
        'FLANNEL_SUBNET is "export 10.5.72.1/24", not one IPv4 network; skipping it',
        "line 6 is not NAME=value; skipping it",
        'FLANNEL_IPV6_SUBNET is "10.5.72.1/24", not one IPv6 network; skipping it',
      ],
    });
  });

  test("as a container runtime reads it has everything that was written", () => {
    expect(parseSubnetFile(DUAL_TEXT)).toEqual(DUAL);
    expect(parseSubnetFile("FLANNEL_SUBNET='10.5.72.1/24'\nFLANNEL_MTU=1\nFLANNEL_IPMASQ=true\n"))
      .toEqual({
        networks: {},
        subnets: { 4: "10.5.72.0/24" as Prefix },
        mtuBytes: 1,
        ipMasq: true,
      });
    expect(bridgeAddress("10.5.72.0/24" as Prefix)).toBe("10.5.72.1/24");
    expect(bridgeAddress("2001:cafe:42::/64" as Prefix)).toBe("2001:cafe:42::1/64");
  });

  test.each([
    ["", "FLANNEL_SUBNET is missing"],
    ["FLANNEL_NETWORK=10.5.0.0/16\nFLANNEL_MTU=1450\n", "FLANNEL_SUBNET is missing"],
    ["FLANNEL_SUBNET=10.5.72.1/24\n", "FLANNEL_MTU is missing"],
    ["FLANNEL_SUBNET=10.5.72.1/24\nFLANNEL_MTU=0\n", 'FLANNEL_MTU is "0", not a number of bytes'],
    [
      "FLANNEL_SUBNET=10.5.72.1/24\nFLANNEL_MTU=1.5\n",
      'FLANNEL_MTU is "1.5", not a number of bytes',
    ],
    [
      "FLANNEL_SUBNET=10.5.72.1\nFLANNEL_MTU=1\n",
      'FLANNEL_SUBNET is "10.5.72.1", not one IPv4 network',
    ],
    ["FLANNEL_SUBNET=10.5.72.1/24\nFLANNEL_MTU\n", "line 2 is not NAME=value"],
  ])("as a container runtime reads it is refused when it is %j", (text, reason) => {
    const error = thrownBy(() => parseSubnetFile(text));
    expect(error).toBeInstanceOf(SubnetFileError);
    expect((error as Error).message).toBe(`cannot read the subnet file: ${reason}`);
  });

  test("garbage never throws", () => {
    fc.assert(fc.property(fc.string(), (text) => {
      parse(text);
      parse(`FLANNEL_SUBNET=${text}`);
    }));
  });
});

describe("the subnet file", () => {
  let folder: string;
  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), "subnet-file-"));
  });
  afterEach(() => rm(folder, { recursive: true }));

  test("is written with its parent directories and mode 0644, without other files", async () => {
    const path = join(folder, "run", "flannel", "subnet.env");
    const umask = process.umask(0o077);
    try {
      await writeSubnetFile(path, DUAL);
    } finally {
      process.umask(umask);
    }
    expect(await readFile(path, "utf8")).toBe(DUAL_TEXT);
    expect((await stat(path)).mode & 0o777).toBe(0o644);
    expect(await readdir(join(folder, "run", "flannel"))).toEqual(["subnet.env"]);
  });

  test("is replaced, not rewritten, and left alone when its content is the same", async () => {
    const path = join(folder, "subnet.env");
    await writeSubnetFile(path, DUAL);
    const { ino } = await stat(path);
    await utimes(path, 1, 1);
    await writeSubnetFile(path, DUAL);
    expect(await stat(path)).toMatchObject({ ino, mtimeMs: 1000 });
    await writeSubnetFile(path, { ...DUAL, mtuBytes: 1400 });
    expect((await stat(path)).ino).not.toBe(ino);
  });

  test("that cannot be written throws and leaves nothing in its folder", async () => {
    const path = join(folder, "subnet.env");
    await writeFile(join(folder, "file"), "");
    await expect(writeSubnetFile(join(folder, "file", "x", "subnet.env"), DUAL)).rejects.toThrow(
      "ENOTDIR",
    );
    expect(await readdir(folder)).toEqual(["file"]);
    expect(readSubnetFile(path, () => {})).toEqual({ networks: {}, subnets: {} });
  });

  test("of an earlier run that cannot be read counts as empty, with a warning", () => {
    const warnings: string[] = [];
    const warn = (message: string) => warnings.push(message);
    expect(readSubnetFile(join(folder, "none"), warn)).toEqual({ networks: {}, subnets: {} });
    expect(warnings).toEqual([]);
    expect(readSubnetFile(folder, warn)).toEqual({ networks: {}, subnets: {} });
    expect(warnings[0]).toBe(
      `cannot read subnet file ${folder}: ${folder} is a directory, not a regular file; ` +
        "ignoring it",
    );
  });

  test("that is a device, FIFO, socket or folder is refused at once, read or written", async () => {
    const [fifo, socket] = [join(folder, "fifo"), join(folder, "socket")];
    await runProgram("mkfifo", [fifo]);
    const server = createServer();
    await new Promise<void>((resolve) => server.listen(socket, resolve));
    const kinds: Record<string, string> = {
      "/dev/null": "a device",
      [fifo]: "a FIFO",
      [socket]: "a socket",
      [folder]: "a directory",
    };
    try {
      for (const [path, kind] of Object.entries(kinds)) {
        const link = join(folder, "link");
        await symlink(path, link);
        for (const name of [path, link]) {
          const reason = `${name} is ${kind}, not a regular file`;
          expect(thrownBy(() => checkSubnetFile(name))).toMatchObject({
            name: "SubnetFileError",
            message:
              `cannot write the subnet file: ${reason}; set --subnet-file to a regular file ` +
              "or to a path that does not exist",
            cause: expect.any(RegularFileError),
          });
          await expect(writeSubnetFile(name, DUAL)).rejects.toThrow(reason);
          const warnings: string[] = [];
          readSubnetFile(name, (message) => warnings.push(message));
          expect(warnings).toEqual([`cannot read subnet file ${name}: ${reason}; ignoring it`]);
        }
        await rm(link);
      }
      expect((await readdir(folder)).sort()).toEqual(["fifo", "socket"]);
      expect((await stat("/dev/null")).isCharacterDevice()).toBe(true);
    } finally {
      server.close();
    }
  });

  test("whose path the system refuses is reported when it is written", async () => {
    const path = join(folder, "x".repeat(300));
    checkSubnetFile(path);
    await expect(writeSubnetFile(path, DUAL)).rejects.toThrow("ENAMETOOLONG");
  });

  test("below a file or at a loop of symbolic links is refused at the start", async () => {
    const [file, loop] = [join(folder, "file"), join(folder, "loop")];
    await writeFile(file, "");
    await symlink(loop, loop);
    const advice = "; set --subnet-file to a regular file or to a path that does not exist";
    for (const path of [join(file, "subnet.env"), join(file, "a", "b", "subnet.env")]) {
      expect(() => checkSubnetFile(path)).toThrow(
        `cannot write the subnet file: ${file} is a regular file, not a directory${advice}`,
      );
    }
    for (const path of [loop, join(loop, "subnet.env")]) {
      expect(() => checkSubnetFile(path)).toThrow(
        `cannot write the subnet file: ${path} is a loop of symbolic links${advice}`,
      );
    }
    checkSubnetFile(join(folder, "new", "folder", "subnet.env"));
  });

  test("replaces a symbolic link and leaves its target", async () => {
    const [path, target] = [join(folder, "subnet.env"), join(folder, "target")];
    await symlink(target, path);
    checkSubnetFile(path); // It leads nowhere yet.
    await writeFile(target, "FLANNEL_SUBNET=10.5.9.1/24\n");
    checkSubnetFile(path);
    expect(readSubnetFile(path, () => {}).subnets).toEqual({ 4: "10.5.9.0/24" as Prefix });
    await writeSubnetFile(path, DUAL);
    expect((await lstat(path)).isFile()).toBe(true);
    expect(await readFile(target, "utf8")).toBe("FLANNEL_SUBNET=10.5.9.1/24\n");
    expect(await readFile(path, "utf8")).toBe(DUAL_TEXT);
  });

  test("of enormous size is ignored", async () => {
    const path = join(folder, "subnet.env");
    await writeFile(path, "");
    await truncate(path, 2 ** 40);
    const warnings: string[] = [];
    readSubnetFile(path, (message) => warnings.push(message));
    expect(warnings).toEqual([
      `cannot read subnet file ${path}: ${path} has more than 65536 bytes; ignoring it`,
    ]);
    await writeSubnetFile(path, DUAL);
    expect(await readFile(path, "utf8")).toBe(DUAL_TEXT);
  });
});
