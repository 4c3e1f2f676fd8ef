/** The CA and the token that a datastore gets by a secret instead of making them. */

import { createECDH, createPrivateKey, createPublicKey, generateKeyPairSync } from "node:crypto";
import { keyFingerprint } from "../../join/ca_fingerprint.ts";
import { type JoinToken, newJoinToken } from "../../join/join_token.ts";
import type { DatastoreSecret } from "./datastore_secret.ts";

export interface PreparedAccess {
  /** The private key of the CA, in PEM (PKCS #8). */
  readonly caKey: string;
  /** With the fingerprint of this CA. */
  readonly token: JoinToken;
}

/** A secret with a new key, and the token of the datastore that gets it. */
export function newDatastoreSecret(): {
  readonly secret: DatastoreSecret;
  readonly token: JoinToken;
} {
  const { privateKey, publicKey } = generateKeyPairSync("ec", { namedCurve: CURVE });
  const { d: caKey = "" } = privateKey.export({ format: "jwk" });
  const token = newJoinToken(keyFingerprint(publicKey));
  return { secret: { id: token.id, caKey, tokenSecret: token.secret }, token };
}

export function preparedAccess({ id, caKey, tokenSecret }: DatastoreSecret): PreparedAccess {
  const key = createPrivateKey({ key: jsonWebKey(caKey), format: "jwk" });
  const fingerprint = keyFingerprint(createPublicKey(key));
  return {
    caKey: key.export({ type: "pkcs8", format: "pem" }) as string,
    token: { id, fingerprint, secret: tokenSecret },
  };
}

const CURVE = "prime256v1";
const COORDINATE_BYTES = 32;

/** RFC 7518 6.2: with the public key, which is a point without compression (SEC 1, 2.3.3). */
function jsonWebKey(d: string): JsonWebKey {
  const exchange = createECDH(CURVE);
  exchange.setPrivateKey(Buffer.from(d, "base64url"));
  const point = exchange.getPublicKey().subarray(1);
  return {
    kty: "EC",
    crv: "P-256",
    d,
    x: point.subarray(0, COORDINATE_BYTES).toString("base64url"),
    y: point.subarray(COORDINATE_BYTES).toString("base64url"),
  };
}
