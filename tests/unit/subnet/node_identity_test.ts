import { expect, test } from "bun:test";
import { createHash } from "node:crypto";
import { mkdtempSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { nodeIdentity } from "../../../src/subnet/etcd/node_identity.ts";

const SOURCE = join(import.meta.dir, "../../../src/subnet/etcd/node_identity.ts");

function identityOf(...prefix: string[]): string {
  const script = `console.log(await (await import(${JSON.stringify(SOURCE)})).nodeIdentity())`;
  const { stdout, stderr } = Bun.spawnSync([...prefix, process.execPath, "-e", script]);
  expect(stderr.toString()).toBe("");
  return stdout.toString().trim();
}

test("all processes in one network namespace have one identity", async () => {
  const own = await nodeIdentity();
  expect(own).toMatch(/^[0-9a-f]{32}$/);
  expect(identityOf()).toBe(own);
  expect(identityOf("unshare", "--net")).not.toBe(own);
});

test("the identity is of the machine, its boot and the namespace, in all versions", async () => {
  const directory = mkdtempSync(join(tmpdir(), "identity-"));
  try {
    const [machineId, bootId, networkNamespace] = ["machine", "boot", "namespace"].map((name) =>
      join(directory, name)
    ) as [string, string, string];
    writeFileSync(machineId, "0123456789abcdef\n");
    writeFileSync(networkNamespace, "");
    const { dev, ino } = statSync(networkNamespace, { bigint: true });
    const hash = (bootText: string) =>
      createHash("sha256")
        .update(`flannel live session\n0123456789abcdef\n${bootText}\n${dev}:${ino}`)
        .digest("hex").slice(0, 32);
    const files = { machineId, bootId, networkNamespace };
    // A file that cannot be read counts as empty.
    expect(await nodeIdentity(files)).toBe(hash(""));
    writeFileSync(bootId, "a boot\n");
    expect(await nodeIdentity(files)).toBe(hash("a boot"));
  } finally {
    rmSync(directory, { recursive: true });
  }
});

test("the identity is read where Linux has it", async () => {
  expect(await nodeIdentity()).toBe(
    await nodeIdentity({
      machineId: "/etc/machine-id",
      bootId: "/proc/sys/kernel/random/boot_id",
      networkNamespace: "/proc/self/ns/net",
    }),
  );
});
