import { createHash, type KeyObject, X509Certificate } from "node:crypto";

/**
 * SHA-256 of the public key of a certificate (its SubjectPublicKeyInfo), in base64url. It stays the
 * same when a CA's certificate is made again with the same key.
 */
export function caFingerprint(certificate: X509Certificate | string | Uint8Array): string {
  const read = certificate instanceof X509Certificate
    ? certificate
    : new X509Certificate(certificate);
  return keyFingerprint(read.publicKey);
}

/** The fingerprint of the certificate that a CA with this public key has. */
export function keyFingerprint(publicKey: KeyObject): string {
  const der = publicKey.export({ type: "spki", format: "der" });
  return createHash("sha256").update(der).digest("base64url");
}
