import { afterAll, describe, expect, test } from "bun:test";
import fc from "fast-check";
import {
  chmodSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseWireguardKey, wireguardKeyBytes } from "../../../../src/addr/wireguard_key.ts";
import {
  parseKeyFile,
  readKeyFile,
  writeKeyFile,
} from "../../../../src/backend/wireguard/key_file.ts";
import { privateKeyFrom, publicKeyOf } from "../../../../src/backend/wireguard/key_pair.ts";
import { BackendError } from "../../../../src/overlay/backend_error.ts";
import { runProgram } from "../../../../src/process/run_program.ts";

const directory = mkdtempSync(join(tmpdir(), "key-file-test-"));
afterAll(() => rmSync(directory, { recursive: true }));
const KEY = privateKeyFrom(new Uint8Array(32).fill(0xff));

let count = 0;
function file(content: string, mode = 0o400): string {
  const path = join(directory, `key-${++count}`);
  writeFileSync(path, content);
  chmodSync(path, mode);
  return path;
}

describe("the key file", () => {
  test("is written for its owner alone, with its directories, as by Go flannel", async () => {
    const path = join(directory, "some", "folder", "wgkey");
    await writeKeyFile(path, KEY, "x");
    expect(readFileSync(path, "latin1")).toBe(KEY);
    expect(statSync(path).mode & 0o7777).toBe(0o400);
    expect(readdirSync(join(directory, "some", "folder"))).toEqual(["wgkey"]);
    expect(await readKeyFile(path)).toBe(KEY);
  });

  test("is never overwritten: the fastest process creates it, and all have its key", async () => {
    const folder = join(directory, "crowd");
    const path = join(folder, "wgkey");
    const keys = Array.from({ length: 20 }, (_, i) => privateKeyFrom(new Uint8Array(32).fill(i)));
    const found = await Promise.all(keys.map((key, i) => writeKeyFile(path, key, `${i}`)));
    const [key] = found;
    expect(keys).toContain(key as typeof KEY);
    expect(found).toEqual(found.map(() => key as typeof KEY));
    expect(await writeKeyFile(path, KEY, "late")).toBe(key as typeof KEY);
    expect(await readKeyFile(path)).toBe(key);
    expect(readdirSync(folder)).toEqual(["wgkey"]);
  });

  test("that another process created and that cannot be used is rejected, and kept", async () => {
    const path = file("no key");
    await expect(writeKeyFile(path, KEY, "x")).rejects.toThrow("does not contain a key");
    expect(readFileSync(path, "latin1")).toBe("no key");
    const dangling = join(directory, "dangling");
    symlinkSync(join(directory, "nothing"), dangling);
    await expect(writeKeyFile(dangling, KEY, "x")).rejects.toThrow(
      `cannot write the WireGuard key file ${dangling}: it is a symbolic link to a file`,
    );
  });

  test("is undefined if it does not exist", async () => {
    expect(await readKeyFile(join(directory, "nothing", "here"))).toBeUndefined();
  });

  test.each([
    ["as wg genkey prints it", `${KEY}\n`],
    ["with Windows' line end", `${KEY}\r\n`],
  ])("is read %s", async (_name, content) => {
    expect(await readKeyFile(file(content, 0o600))).toBe(KEY);
  });

  test("is read through a symbolic link, as Kubernetes mounts secrets", async () => {
    const link = join(directory, "link");
    symlinkSync(file(KEY), link);
    expect(await readKeyFile(link)).toBe(KEY);
  });

  test("is read as the kernel will return it", async () => {
    const raw = new Uint8Array(32).fill(0xff);
    expect(await readKeyFile(file(raw.toBase64()))).toBe(privateKeyFrom(raw));
    expect(privateKeyFrom(raw) as string).not.toBe(raw.toBase64());
  });

  test.each([0o404, 0o440, 0o644, 0o602])("is rejected with mode %i, and kept", async (mode) => {
    const path = file(KEY, mode);
    const error = await readKeyFile(path).catch((error: unknown) => error) as Error;
    expect(error).toBeInstanceOf(BackendError);
    expect(error.message).toBe(
      `WireGuard key file ${path} is accessible to other users (mode 0${mode.toString(8)}); if ` +
        `none has read it, run "chmod 0400 ${path}", otherwise delete it to have a new key created`,
    );
    expect(readFileSync(path, "latin1")).toBe(KEY);
  });

  test.each([
    ["empty", ""],
    ["short", KEY.slice(1)],
    ["of two keys", `${KEY}\n${KEY}\n`],
    ["large", KEY.repeat(100)],
    ["of another format", "-----BEGIN PRIVATE KEY-----\n"],
  ])(
    "is rejected if it is %s, without its content in the message, and kept",
    async (_name, content) => {
      const path = file(content);
      const error = await readKeyFile(path).catch((error: unknown) => error) as Error;
      expect(error).toBeInstanceOf(BackendError);
      expect(error.message).toBe(
        `WireGuard key file ${path} does not contain a key, which is one line of 44 characters ` +
          "of base64 as wg genkey prints; correct it, or move it away to have a new key created",
      );
      expect(readFileSync(path, "latin1")).toBe(content);
    },
  );

  test("is rejected if it is a directory or a pipe", async () => {
    const folder = join(directory, "folder");
    mkdirSync(folder, { mode: 0o755 });
    await expect(readKeyFile(folder)).rejects.toThrow(
      `WireGuard key file ${folder} is not a regular file`,
    );
    const pipe = join(directory, "pipe");
    await runProgram("mkfifo", ["-m", "0400", pipe]);
    await expect(readKeyFile(pipe)).rejects.toThrow(
      `WireGuard key file ${pipe} is not a regular file`,
    );
  });

  test("that cannot be written is an error with its path and what sets another one", async () => {
    const path = join(file(""), "wgkey");
    await expect(writeKeyFile(path, KEY, "x")).rejects.toThrow(
      `cannot write the WireGuard key file ${path}: `,
    );
    await expect(writeKeyFile(path, KEY, "x")).rejects.toThrow(
      "; set WIREGUARD_KEY_FILE to another path",
    );
  });

  test("of any content results in a key or in the one error", () => {
    const text = fc.oneof(
      fc.string({ unit: "binary", maxLength: 60 }),
      fc.uint8Array({ minLength: 31, maxLength: 33 }).map((bytes) => bytes.toBase64()),
      fc.base64String({ minLength: 40, maxLength: 48 }),
    );
    let keys = 0;
    fc.assert(
      fc.property(text, (content) => {
        try {
          expect(wireguardKeyBytes(parseKeyFile("/wgkey", content)).length).toBe(32);
          keys++;
        } catch (error) {
          if (!(error instanceof BackendError)) throw error;
          expect(parseWireguardKey(content.trim())).toBeUndefined();
        }
      }),
      { numRuns: 100_000 },
    );
    expect(keys).toBeGreaterThan(1000);
  }, 30_000);
});

describe("a key pair", () => {
  const ALICE = {
    secret: "77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a",
    public: "8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a",
  };

  test("has the public key of RFC 7748 section 6.1", () => {
    const secret = parseWireguardKey(Uint8Array.fromHex(ALICE.secret).toBase64());
    expect(secret && publicKeyOf(secret)).toBe(
      parseWireguardKey(Uint8Array.fromHex(ALICE.public).toBase64()),
    );
  });

  test("has the same public key before and after the fixed bits are set", () => {
    fc.assert(
      fc.property(fc.uint8Array({ minLength: 32, maxLength: 32 }), (bytes) => {
        const raw = parseWireguardKey(bytes.toBase64());
        expect(raw && publicKeyOf(raw)).toBe(publicKeyOf(privateKeyFrom(bytes)));
      }),
      { numRuns: 1000 },
    );
  });

  test("has the public key that wg computes", async () => {
    const { stdout } = await runProgram("wg", ["pubkey"], { stdin: `${KEY}\n` });
    expect(stdout.trim()).toBe(publicKeyOf(KEY));
  });
});
