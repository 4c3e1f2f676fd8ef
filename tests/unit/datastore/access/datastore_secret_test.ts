import { describe, expect, test } from "bun:test";
import { createPrivateKey, X509Certificate } from "node:crypto";
import fc from "fast-check";
import { caCertificate } from "../../../../src/datastore/access/certificate.ts";
import {
  type DatastoreSecret,
  datastoreSecretText,
  parseDatastoreSecret,
} from "../../../../src/datastore/access/datastore_secret.ts";
import {
  newDatastoreSecret,
  preparedAccess,
} from "../../../../src/datastore/access/prepared_access.ts";
import { caFingerprint } from "../../../../src/join/ca_fingerprint.ts";
import { joinTokenText, parseJoinToken } from "../../../../src/join/join_token.ts";

describe("a secret", () => {
  test("gives the datastore the CA and the token that the nodes were given", () => {
    for (let count = 0; count < 20; count++) {
      const { secret, token } = newDatastoreSecret();
      const read = parseDatastoreSecret(datastoreSecretText(secret));
      expect(read).toEqual(secret);
      const prepared = preparedAccess(read as DatastoreSecret);
      expect(prepared.token).toEqual(token);
      const certificate = new X509Certificate(caCertificate(prepared.caKey, "a CA"));
      expect(caFingerprint(certificate)).toBe(token.fingerprint);
      expect(certificate.checkPrivateKey(createPrivateKey(prepared.caKey))).toBe(true);
    }
  });

  test("never crashes the reader, whatever the text is", () => {
    fc.assert(fc.property(fc.string(), (text) => {
      expect(parseDatastoreSecret(text)).toHaveProperty("problem");
      expect(parseDatastoreSecret(`D1.abc.${text}`)).toHaveProperty("problem");
    }));
  });

  test("differs from every other one", () => {
    const made = Array.from({ length: 20 }, () => newDatastoreSecret().secret);
    expect(new Set(made.map(({ caKey }) => caKey)).size).toBe(20);
    expect(new Set(made.map(({ tokenSecret }) => tokenSecret)).size).toBe(20);
  });

  test("and a token are not taken for each other", () => {
    const { secret, token } = newDatastoreSecret();
    expect(parseDatastoreSecret(joinTokenText(token)))
      .toEqual({ problem: "the secret is the token of a node, which begins with F1" });
    expect(parseJoinToken(datastoreSecretText(secret)))
      .toEqual({ problem: "the token is the secret of a datastore, which no node may have" });
  });

  test("is refused with a reason that does not contain it", () => {
    const text = datastoreSecretText(newDatastoreSecret().secret);
    const cases: [text: string, problem: RegExp][] = [
      [text.slice(0, -1), /^the secret is truncated/],
      [`${text.slice(0, 20)}${text[20] === "A" ? "B" : "A"}${text.slice(21)}`, /damaged/],
      [text.replace("D1.", "D2."), /format D2 of a later version/],
      ["SECRET", /does not begin with D1/],
    ];
    for (const [given, problem] of cases) {
      const read = parseDatastoreSecret(given) as { problem: string };
      expect(read.problem).toMatch(problem);
      expect(read.problem).not.toContain(text.slice(10, 20));
    }
  });

  test("whose key is not one of the curve is refused by its ID", () => {
    const order = BigInt("0xffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551");
    const withKey = (key: bigint) => {
      const caKey = Buffer.from(key.toString(16).padStart(64, "0"), "hex").toString("base64url");
      const { tokenSecret } = newDatastoreSecret().secret;
      return parseDatastoreSecret(datastoreSecretText({ id: "abc", caKey, tokenSecret }));
    };
    for (const key of [0n, order, order + 1n, 2n ** 256n - 1n]) {
      expect(withKey(key)).toEqual({
        problem: "the secret abc contains no valid key of a CA; make another one",
      });
    }
    // What is read is a key for OpenSSL, too.
    for (const key of [1n, order - 1n]) preparedAccess(withKey(key) as DatastoreSecret);
  });
});
