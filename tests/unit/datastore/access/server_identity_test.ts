import { afterEach, beforeEach, expect, test } from "bun:test";
import { X509Certificate } from "node:crypto";
import { caCertificate, newPrivateKey } from "../../../../src/datastore/access/certificate.ts";
import { ServerIdentity } from "../../../../src/datastore/access/server_identity.ts";
import { caFingerprint } from "../../../../src/join/ca_fingerprint.ts";
import { collectingLog } from "../../../support/collecting_log.ts";
import { FakeClock } from "../../../support/fake_clock.ts";

const DAY_MS = 86_400_000;
const key = newPrivateKey();
const cert = caCertificate(key, "test CA");
const ca = { key, cert, fingerprint: caFingerprint(cert) };

/** A wall clock that can be set, as by NTP. */
class SettableClock extends FakeClock {
  offsetMs = Date.UTC(2026, 0, 1);

  override wallMs(): number {
    return this.nowMs() + this.offsetMs;
  }
}

let clock: SettableClock;
let names: string[];
let renewed: X509Certificate[];
let identity: ServerIdentity;
let messages: () => string[];

beforeEach(async () => {
  clock = new SettableClock();
  names = ["10.0.0.1", "localhost"];
  renewed = [];
  const { log, records } = collectingLog();
  messages = () => records.map(({ msg }) => msg);
  identity = await ServerIdentity.create({ ca, names: () => names, clock, log });
  identity.onRenewed = ({ cert }) => renewed.push(new X509Certificate(cert));
});

afterEach(() => identity[Symbol.dispose]());

/** Without its thousands of checks. */
async function nextDay(): Promise<void> {
  clock.offsetMs += DAY_MS;
  await clock.advance(10_000);
}

/** Until then the current certificate is valid for a client whose clock is right. */
const validForMs = () =>
  Date.parse(new X509Certificate(identity.current.cert).validTo) - clock.wallMs();

test("the certificate is followed by that of its CA", () => {
  const parts = identity.current.cert.split(/(?<=-----END CERTIFICATE-----\n)/);
  expect(parts).toHaveLength(2);
  expect(parts[1]).toBe(cert);
  expect(new X509Certificate(parts[0] as string).checkIssued(new X509Certificate(cert))).toBe(true);
});

test("it is renewed 30 days before it expires, again and again, and at no other time", async () => {
  for (let day = 0; day < 59; day++) await nextDay();
  expect(renewed).toEqual([]);
  for (let day = 0; day < 400; day++) {
    await nextDay();
    expect(validForMs()).toBeGreaterThan(29 * DAY_MS);
  }
  expect(renewed).toHaveLength(7);
  expect(messages()).toContain("renewed the TLS certificate: it expires soon");
});

test("a new address is in the next certificate within seconds, and a lost one is not", async () => {
  names = ["10.0.0.2", "localhost"];
  await clock.advance(10_000);
  expect(renewed[0]?.checkIP("10.0.0.2")).toBe("10.0.0.2");
  expect(renewed[0]?.checkIP("10.0.0.1")).toBeUndefined();
  names = ["localhost"];
  await clock.advance(60_000);
  expect(renewed).toHaveLength(2);
  expect(messages()).toEqual([
    "renewed the TLS certificate: this machine now also has 10.0.0.2",
    "renewed the TLS certificate: this machine no longer has 10.0.0.2",
  ]);
});

test("after the clock was set back, it is valid at the corrected time", async () => {
  clock.offsetMs -= 365 * DAY_MS;
  await clock.advance(10_000);
  expect(renewed).toHaveLength(1);
  expect(Date.parse(renewed[0]?.validFrom as string)).toBeLessThan(clock.wallMs());
  expect(validForMs()).toBeGreaterThan(80 * DAY_MS);
});

test("a failure is reported and does not end the renewals", async () => {
  const broken = names;
  names = undefined as unknown as string[];
  await clock.advance(10_000);
  expect(messages()).toEqual([
    expect.stringMatching(/^renewing the TLS certificate failed: /),
  ]);
  names = [...broken, "10.0.0.3"];
  await clock.advance(10_000);
  expect(renewed[0]?.checkIP("10.0.0.3")).toBe("10.0.0.3");
});
