import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { mkdtemp, readdir, readFile, rm, stat, utimes, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import type { Prefix } from "../../../src/addr/prefix.ts";
import {
  formatSubnetFile,
  parseSubnetFile,
  readSubnetFile,
  type SubnetFile,
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
  return { file: parseSubnetFile(text, (line) => warnings.push(line)), warnings };
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

  test("a broken line is skipped with a warning, and costs no other line", () => {
    const text = "FLANNEL_NETWORK\n=\n[x]\nFLANNEL_SUBNET=10.5.72.1/24,10.6.0.1/24\n" +
      "FLANNEL_IPV6_SUBNET=10.5.72.1/24\nFLANNEL_IPV6_NETWORK=fc00::/48\n";
    expect(parse(text)).toEqual({
      file: { networks: { 6: "fc00::/48" }, subnets: {} },
      warnings: [
        "line 1 is not NAME=value; it is skipped",
        "line 2 is not NAME=value; it is skipped",
        "line 3 is not NAME=value; it is skipped",
        'FLANNEL_SUBNET is "10.5.72.1/24,10.6.0.1/24", not one IPv4 network; it is skipped',
        'FLANNEL_IPV6_SUBNET is "10.5.72.1/24", not one IPv6 network; it is skipped',
      ],
    });
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

  test("is written with its parent directories, mode 0644, and nothing left beside it", async () => {
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

  test("is replaced, not rewritten, and left alone when it says the same", async () => {
    const path = join(folder, "subnet.env");
    await writeSubnetFile(path, DUAL);
    const { ino } = await stat(path);
    await utimes(path, 1, 1);
    await writeSubnetFile(path, DUAL);
    expect(await stat(path)).toMatchObject({ ino, mtimeMs: 1000 });
    await writeSubnetFile(path, { ...DUAL, mtuBytes: 1400 });
    expect((await stat(path)).ino).not.toBe(ino);
  });

  test("that cannot be written throws and leaves nothing beside it", async () => {
    const path = join(folder, "subnet.env");
    await writeFile(join(folder, "file"), "");
    await expect(writeSubnetFile(join(folder, "file", "x", "subnet.env"), DUAL)).rejects.toThrow(
      "ENOTDIR",
    );
    expect(await readdir(folder)).toEqual(["file"]);
    expect(await readSubnetFile(path, () => {})).toEqual({ networks: {}, subnets: {} });
  });

  test("of an earlier run that cannot be read is nothing, with a warning", async () => {
    const warnings: string[] = [];
    const warn = (message: string) => warnings.push(message);
    expect(await readSubnetFile(join(folder, "none"), warn)).toEqual({ networks: {}, subnets: {} });
    expect(warnings).toEqual([]);
    expect(await readSubnetFile(folder, warn)).toEqual({ networks: {}, subnets: {} });
    expect(warnings[0]).toStartWith(`cannot read subnet file ${folder}: EISDIR`);
  });
});
