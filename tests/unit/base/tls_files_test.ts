import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from "bun:test";
import { mkdtempSync, readFileSync, renameSync, rmSync, utimesSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { TlsFiles, TlsFilesError } from "../../../src/base/tls_files.ts";
import { TestCa } from "../../support/certificates.ts";

let [first, second]: TestCa[] = [];
let client: { certFile: string; keyFile: string };
let other: { certFile: string; keyFile: string };
let directory: string;

beforeAll(() => {
  [first, second] = [new TestCa("first"), new TestCa("second")];
  [client, other] = [first.sign("client"), first.sign("other")];
});
afterAll(() => [first, second].forEach((ca) => ca?.[Symbol.dispose]()));
beforeEach(() => directory = mkdtempSync(join(tmpdir(), "tls-files-test-")));
afterEach(() => rmSync(directory, { recursive: true }));

const text = (path: string | undefined) => readFileSync(path as string, "utf8").trim();

/** A file with this content. */
function file(name: string, content: string): string {
  const path = join(directory, name);
  writeFileSync(path, content);
  return path;
}

/** Why the files cannot be used. */
function refusal(names: ConstructorParameters<typeof TlsFiles>[0]): string {
  try {
    new TlsFiles(names, { purpose: "etcd" }).current();
  } catch (error) {
    expect(error).toBeInstanceOf(TlsFilesError);
    expect((error as Error).cause).toBeInstanceOf(Error);
    return (error as Error).message;
  }
  throw new Error("nothing was refused");
}

test("TlsFiles gives the content of the named files only", () => {
  const caFile = first?.caFile;
  const { ca, cert, key } = new TlsFiles({ caFile, ...client }, { purpose: "etcd" }).current();
  expect([ca, cert, key?.trim()]).toEqual([caFile, client.certFile, client.keyFile].map(text));
  expect(new TlsFiles({ caFile, certFile: "", keyFile: undefined }, { purpose: "etcd" }).current())
    .toEqual({ ca: text(caFile) });
  expect(new TlsFiles({}, { purpose: "etcd" }).current()).toEqual({});
});

test("TlsFiles gives the same object until a file is rewritten or replaced", () => {
  const caFile = file("ca", text(first?.caFile));
  const keyFile = file("key", text(client.keyFile));
  const files = new TlsFiles({ caFile, keyFile }, { purpose: "etcd" });
  const before = files.current();
  expect(files.current()).toBe(before);
  writeFileSync(caFile, `${text(first?.caFile)}\n${text(second?.caFile)}\n`);
  const both = files.current();
  expect(both.ca).toBe(`${text(first?.caFile)}\n${text(second?.caFile)}`);
  expect(files.current()).toBe(both);
  renameSync(file("ca.new", text(second?.caFile)), caFile);
  expect(files.current().ca).toBe(text(second?.caFile));
  const replaced = files.current();
  utimesSync(keyFile, 1, 1);
  expect(files.current()).not.toBe(replaced);
  expect(files.current()).toEqual(replaced);
});

test("TlsFiles keeps what it has while files do not fit, and takes what comes then", () => {
  const certFile = file("cert", text(client.certFile));
  const keyFile = file("key", text(client.keyFile));
  const files = new TlsFiles({ certFile, keyFile }, { purpose: "etcd" });
  const before = files.current();
  rmSync(certFile);
  expect(files.current()).toBe(before);
  writeFileSync(certFile, "");
  expect(files.current()).toBe(before);
  writeFileSync(certFile, text(other.certFile));
  expect(files.current()).toBe(before);
  writeFileSync(keyFile, text(other.keyFile));
  expect(files.current()).toEqual({ cert: text(other.certFile), key: text(other.keyFile) });
});

test("TlsFiles reads the good certificates of a list, and refuses a list without one", () => {
  const good = text(first?.caFile);
  const damaged = good.replace(/\n[A-Za-z0-9+/]{20}/, "\nAAAAAAAAAAAAAAAAAAAA");
  const caFile = file("ca", `# the CA\n${damaged}\n${good}\n`);
  expect(new TlsFiles({ caFile }, { purpose: "etcd" }).current()).toEqual({ ca: good });
  expect(refusal({ caFile: file("damaged", damaged) })).toBe(
    `cannot read the TLS files for etcd: ${directory}/damaged has a damaged certificate`,
  );
  expect(refusal({ caFile: file("empty", "") })).toEndWith(
    "/empty has no certificate in PEM form",
  );
});

test("TlsFiles says which file cannot be used when it has nothing", () => {
  expect(refusal({ caFile: join(directory, "none") })).toMatch(
    /^cannot read the TLS files for etcd: .*ENOENT.*\/none/,
  );
  const keyFile = file("key", text(client.certFile));
  expect(refusal({ certFile: client.certFile, keyFile })).toEndWith(
    "/key has no unencrypted private key in PEM form",
  );
  expect(refusal({ certFile: client.certFile, keyFile: other.keyFile })).toEndWith(
    `${other.keyFile} is not the key of the certificate in ${client.certFile}`,
  );
});
