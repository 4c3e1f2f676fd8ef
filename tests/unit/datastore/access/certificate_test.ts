import { describe, expect, test } from "bun:test";
import { X509Certificate } from "node:crypto";
import {
  caCertificate,
  newPrivateKey,
  serverCertificate,
} from "../../../../src/datastore/access/certificate.ts";
import { caFingerprint } from "../../../../src/join/ca_fingerprint.ts";

function newCa() {
  const key = newPrivateKey();
  return { key, cert: caCertificate(key, "test CA") };
}

const HOUR_MS = 3_600_000;
const NOW_MS = Date.UTC(2026, 10, 29, 8, 0, 0);
const NAMES = ["192.168.56.11", "fd00::1", "localhost", "ds-1.example.org"];

function newServer(ca = newCa()) {
  const validity = { notBeforeMs: NOW_MS - HOUR_MS, notAfterMs: NOW_MS + HOUR_MS };
  return serverCertificate(ca, { names: NAMES, ...validity });
}

describe("a CA", () => {
  test("is a CA for servers only, valid from 2000 to 9999", () => {
    const { key, cert } = newCa();
    const read = new X509Certificate(cert);
    expect(read.ca).toBe(true);
    expect(read.subject).toBe("CN=test CA");
    expect(read.checkIssued(read)).toBe(true);
    expect(read.verify(read.publicKey)).toBe(true);
    expect([read.validFrom, read.validTo])
      .toEqual(["Jan  1 00:00:00 2000 GMT", "Dec 31 23:59:59 9999 GMT"]);
    expect(caFingerprint(caCertificate(key, "another name"))).toBe(caFingerprint(cert));
    expect(caFingerprint(newCa().cert)).not.toBe(caFingerprint(cert));
  });
});

describe("a server's certificate", () => {
  test("is signed by its CA, for these names and this time", () => {
    const ca = newCa();
    const issuer = new X509Certificate(ca.cert);
    const read = new X509Certificate(newServer(ca).cert);
    expect(read.ca).toBe(false);
    expect(read.checkIssued(issuer)).toBe(true);
    expect(read.verify(issuer.publicKey)).toBe(true);
    expect(read.verify(new X509Certificate(newCa().cert).publicKey)).toBe(false);
    expect([read.validFrom, read.validTo])
      .toEqual(["Nov 29 07:00:00 2026 GMT", "Nov 29 09:00:00 2026 GMT"]);
    for (const address of NAMES.slice(0, 2)) expect(read.checkIP(address)).toBe(address);
    for (const name of NAMES.slice(2)) expect(read.checkHost(name)).toBe(name);
    expect(read.checkIP("192.168.56.12")).toBeUndefined();
    expect(read.checkHost("example.org")).toBeUndefined();
  });

  test("has a new key and a new serial number each time", () => {
    const ca = newCa();
    const [one, two] = [newServer(ca), newServer(ca)];
    expect(one.key).not.toBe(two.key);
    expect(new X509Certificate(one.cert).serialNumber)
      .not.toBe(new X509Certificate(two.cert).serialNumber);
  });

  test("passes OpenSSL's strict verification", async () => {
    const ca = newCa();
    const { cert } = newServer(ca);
    const { exitCode, stderr } = await verifyStrictly(cert, ca.cert);
    expect([exitCode, stderr]).toEqual([0, ""]);
    expect((await verifyStrictly(cert, newCa().cert)).exitCode).not.toBe(0);
  });
});

async function verifyStrictly(cert: string, ca: string) {
  const child = Bun.spawn(
    [
      "bash",
      "-c",
      'openssl verify -x509_strict -purpose sslserver -attime "$0" -CAfile <(echo "$1") ' +
      '<(echo "$2")',
      String(NOW_MS / 1_000),
      ca,
      cert,
    ],
    { stdout: "ignore", stderr: "pipe" },
  );
  return { stderr: await new Response(child.stderr).text(), exitCode: await child.exited };
}
