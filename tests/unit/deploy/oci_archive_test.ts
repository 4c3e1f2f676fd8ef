/** deploy/image/oci_archive.sh: an archive of images that container runtimes can load. */

import { expect, test } from "bun:test";
import { createHash } from "node:crypto";
import {
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { gunzipSync } from "node:zlib";
import { runProgram } from "../../../src/process/run_program.ts";

const SCRIPT = new URL("../../../deploy/image/oci_archive.sh", import.meta.url).pathname;
const NAME = "registry.example.com:5000/team/flanneld:v7";

const json = (bytes: Buffer) => JSON.parse(bytes.toString());

interface Descriptor {
  readonly digest: string;
  readonly size: number;
  readonly platform?: { readonly architecture: string; readonly os: string };
}

test("each blob has the digest and the size of its descriptor", async () => {
  using scratch = scratchDirectory();
  const { path } = scratch;
  const platforms = await writePlatforms(path);
  const layout = await unpack(path, await pack(path, platforms));
  const { manifest: imageIndex, name } = indexOf(layout);
  expect(name).toEqual({
    "io.containerd.image.name": NAME,
    "org.opencontainers.image.ref.name": "v7",
  });
  const { manifests } = json(blob(layout, imageIndex)) as { manifests: Descriptor[] };
  expect(manifests.map(({ platform }) => platform)).toEqual([
    { architecture: "amd64", os: "linux" },
    { architecture: "arm64", os: "linux" },
  ]);
  for (const [number, descriptor] of manifests.entries()) {
    const { rootfs, executable } = platforms[number] as Platform;
    const manifest = json(blob(layout, descriptor));
    const layers = manifest.layers.map((layer: Descriptor) => gunzipSync(blob(layout, layer)));
    expect(layers).toHaveLength(2);
    expect(layers[0]).toEqual(readFileSync(rootfs));
    writeFileSync(join(path, "layer.tar"), layers[1]);
    const listing = await output("tar", ["-tvf", join(path, "layer.tar"), "--full-time"]);
    expect(listing).toMatch(/-rwxr-xr-x 0\/0 +\d+ 2023-11-14 22:13:20 opt\/bin\/flanneld\n$/);
    const program = ["-xOf", join(path, "layer.tar"), "opt/bin/flanneld"];
    expect(await output("tar", program)).toBe(readFileSync(executable, "utf8"));
    const config = json(blob(layout, manifest.config));
    expect(config.architecture).toBe(descriptor.platform?.architecture);
    expect(config.created).toBe("2023-11-14T22:13:20Z");
    expect(config.config.Entrypoint).toEqual(["/opt/bin/flanneld"]);
    const digests = layers.map((layer: Uint8Array) => `sha256:${sha256(layer)}`);
    expect(config.rootfs).toEqual({ type: "layers", diff_ids: digests });
  }
});

test("the same files give the same bytes", async () => {
  using scratch = scratchDirectory();
  const { path } = scratch;
  const platforms = await writePlatforms(path);
  const first = sha256(readFileSync(await pack(path, platforms)));
  for (const { executable } of platforms) utimesSync(executable, 1, 1);
  expect(sha256(readFileSync(await pack(path, platforms)))).toBe(first);
});

test("a missing argument or file is one clear line, and leaves no file", async () => {
  using scratch = scratchDirectory();
  const { path } = scratch;
  const image = join(path, "image.tar");
  const [{ rootfs, executable }] = await writePlatforms(path);
  for (
    const [args, expected] of [
      [[], "usage: "],
      [["name-without-tag", image, `amd64=${rootfs}=${executable}`], "usage: "],
      [[NAME, image], "usage: "],
      [[NAME, image, `mips=${rootfs}=${executable}`], '"mips" is neither amd64 nor arm64'],
      [[NAME, image, `amd64=/none.tar=${executable}`], "/none.tar is missing or empty"],
      [[NAME, image, `amd64=${rootfs}=/none`], "/none is missing or not executable"],
    ] as const
  ) {
    const { exitCode, stderr } = await runProgram("bash", [SCRIPT, ...args]);
    expect(exitCode).toBe(1);
    expect(stderr).toStartWith(`oci_archive.sh: ${expected}`);
    expect(stderr.trimEnd().split("\n")).toHaveLength(1);
  }
  expect(readdirSync(path).filter((name) => name.startsWith("image"))).toEqual([]);
});

interface Platform {
  readonly architecture: string;
  readonly rootfs: string;
  readonly executable: string;
}

/** A root file system with one file, and a script in place of the executable, for each one. */
async function writePlatforms(path: string): Promise<[Platform, Platform]> {
  const write = async (architecture: string): Promise<Platform> => {
    const rootfs = join(path, `${architecture}.tar`);
    const executable = join(path, architecture);
    writeFileSync(executable, `#!/bin/sh\necho ${architecture}\n`, { mode: 0o700 });
    await output("tar", ["-cf", rootfs, "-C", path, architecture]);
    return { architecture, rootfs, executable };
  };
  return [await write("amd64"), await write("arm64")];
}

async function pack(path: string, platforms: readonly Platform[]): Promise<string> {
  const image = join(path, "image.tar");
  const args = platforms.map((one) => `${one.architecture}=${one.rootfs}=${one.executable}`);
  await output("bash", [SCRIPT, NAME, image, ...args]);
  return image;
}

async function unpack(path: string, image: string): Promise<string> {
  const layout = join(path, "layout");
  mkdirSync(layout);
  await output("tar", ["-xf", image, "-C", layout]);
  expect(json(readFileSync(join(layout, "oci-layout")))).toEqual({ imageLayoutVersion: "1.0.0" });
  return layout;
}

/** The only entry of the layout's index: that of the image, with its name. */
function indexOf(layout: string): { manifest: Descriptor; name: unknown } {
  const { manifests } = json(readFileSync(join(layout, "index.json")));
  expect(manifests).toHaveLength(1);
  return { manifest: manifests[0], name: manifests[0].annotations };
}

function blob(layout: string, { digest, size }: Descriptor): Buffer {
  const file = join(layout, "blobs", digest.replace(":", "/"));
  expect(statSync(file).size).toBe(size);
  const bytes = readFileSync(file);
  expect(`sha256:${sha256(bytes)}`).toBe(digest);
  return bytes;
}

/** What a program prints. Throws when it fails. */
async function output(program: string, args: readonly string[]): Promise<string> {
  const env = { ...process.env, SOURCE_DATE_EPOCH: "1700000000", TZ: "UTC" };
  const { exitCode, stdout, stderr } = await runProgram(program, args, { env });
  if (exitCode !== 0) throw new Error(`${program} failed: ${stderr}`);
  return stdout;
}

function sha256(bytes: Uint8Array): string {
  return createHash("sha256").update(bytes).digest("hex");
}

function scratchDirectory(): Disposable & { readonly path: string } {
  const path = mkdtempSync(join(tmpdir(), "flanneld-image-"));
  return { path, [Symbol.dispose]: () => rmSync(path, { recursive: true, force: true }) };
}
