import { expect, test } from "bun:test";
import { join } from "node:path";
import { nodeIdentity } from "../../../src/subnet/etcd/node_identity.ts";

const SOURCE = join(import.meta.dir, "../../../src/subnet/etcd/node_identity.ts");

function identityOf(...prefix: string[]): string {
  const script = `console.log(await (await import(${JSON.stringify(SOURCE)})).nodeIdentity())`;
  const { stdout, stderr } = Bun.spawnSync([...prefix, process.execPath, "-e", script]);
  expect(stderr.toString()).toBe("");
  return stdout.toString().trim();
}

test("every process in one network namespace has one identity, another namespace another", async () => {
  const own = await nodeIdentity();
  expect(own).toMatch(/^[0-9a-f]{32}$/);
  expect(identityOf()).toBe(own);
  expect(identityOf("unshare", "--net")).not.toBe(own);
});
