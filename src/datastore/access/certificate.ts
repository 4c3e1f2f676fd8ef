/**
 * X.509 certificates (RFC 5280) with keys on the curve P-256. Neither WebCrypto nor OpenSSL in the
 * runtime makes certificates: the library encodes their ASN.1, and the runtime signs it.
 */

import { AsnConvert, OctetString } from "@peculiar/asn1-schema";
import {
  AlgorithmIdentifier,
  AttributeTypeAndValue,
  AttributeValue,
  AuthorityKeyIdentifier,
  BasicConstraints,
  Certificate,
  ExtendedKeyUsage,
  Extension,
  Extensions,
  GeneralName,
  id_ce_authorityKeyIdentifier,
  id_ce_basicConstraints,
  id_ce_extKeyUsage,
  id_ce_keyUsage,
  id_ce_subjectAltName,
  id_ce_subjectKeyIdentifier,
  id_kp_serverAuth,
  KeyIdentifier,
  KeyUsage,
  KeyUsageFlags,
  Name,
  RelativeDistinguishedName,
  SubjectAlternativeName,
  SubjectKeyIdentifier,
  SubjectPublicKeyInfo,
  TBSCertificate,
  Validity,
  Version,
} from "@peculiar/asn1-x509";
import {
  createHash,
  createPrivateKey,
  createPublicKey,
  generateKeyPairSync,
  type KeyObject,
  randomBytes,
  sign,
} from "node:crypto";
import { isIP } from "node:net";

/** A certificate and its private key, in PEM. */
export interface KeyedCertificate {
  readonly cert: string;
  readonly key: string;
}

export interface ServerCertificateRequest {
  /** Addresses and DNS names. */
  readonly names: readonly string[];
  readonly notBeforeMs: number;
  readonly notAfterMs: number;
}

/** A private key in PEM (PKCS #8). */
export function newPrivateKey(): string {
  const { privateKey } = generateKeyPairSync("ec", { namedCurve: "prime256v1" });
  return privateKey.export({ type: "pkcs8", format: "pem" }) as string;
}

/**
 * The certificate of a CA that signs servers only. It is valid at any time: it is trusted by its
 * fingerprint, and the clock may be wrong when it is made.
 */
export function caCertificate(key: string, commonName: string): string {
  const privateKey = createPrivateKey(key);
  const subject = nameOf(commonName);
  return signed({
    subject,
    issuer: subject,
    validity: new Validity({ notBefore: ALWAYS.from, notAfter: ALWAYS.to }),
    publicKey: createPublicKey(privateKey),
    issuerKey: privateKey,
    extensions: [
      critical(id_ce_basicConstraints, new BasicConstraints({ cA: true, pathLenConstraint: 0 })),
      critical(id_ce_keyUsage, new KeyUsage(KeyUsageFlags.keyCertSign | KeyUsageFlags.cRLSign)),
    ],
  });
}

/** RFC 5280 4.1.2.5: the end of a certificate that has no well-defined end. */
const ALWAYS = {
  from: new Date(Date.UTC(2000, 0, 1)),
  to: new Date(Date.UTC(9999, 11, 31, 23, 59, 59)),
};

/** A certificate for a TLS server, with a new key. */
export function serverCertificate(
  ca: KeyedCertificate,
  { names, notBeforeMs, notAfterMs }: ServerCertificateRequest,
): KeyedCertificate {
  const key = newPrivateKey();
  const issuerKey = createPrivateKey(ca.key);
  const caKeyId = keyIdentifier(createPublicKey(issuerKey));
  const cert = signed({
    subject: nameOf("flanneld datastore"),
    issuer: AsnConvert.parse(derOf(ca.cert), Certificate).tbsCertificate.subject,
    validity: new Validity({ notBefore: new Date(notBeforeMs), notAfter: new Date(notAfterMs) }),
    publicKey: createPublicKey(createPrivateKey(key)),
    issuerKey,
    extensions: [
      critical(id_ce_basicConstraints, new BasicConstraints({ cA: false })),
      critical(id_ce_keyUsage, new KeyUsage(KeyUsageFlags.digitalSignature)),
      extension(id_ce_extKeyUsage, new ExtendedKeyUsage([id_kp_serverAuth])),
      extension(
        id_ce_authorityKeyIdentifier,
        new AuthorityKeyIdentifier({ keyIdentifier: new KeyIdentifier(caKeyId) }),
      ),
      extension(id_ce_subjectAltName, new SubjectAlternativeName(names.map(generalName))),
    ],
  });
  return { cert, key };
}

interface Unsigned {
  readonly subject: Name;
  readonly issuer: Name;
  readonly validity: Validity;
  readonly publicKey: KeyObject;
  readonly issuerKey: KeyObject;
  readonly extensions: readonly Extension[];
}

/** The certificate in PEM. */
function signed({ publicKey, issuerKey, extensions, ...fields }: Unsigned): string {
  const tbsCertificate = new TBSCertificate({
    ...fields,
    version: Version.v3,
    serialNumber: bufferOf(positiveSerial()),
    signature: ecdsaWithSha256(),
    subjectPublicKeyInfo: AsnConvert.parse(spkiOf(publicKey), SubjectPublicKeyInfo),
    extensions: new Extensions([
      ...extensions,
      extension(id_ce_subjectKeyIdentifier, new SubjectKeyIdentifier(keyIdentifier(publicKey))),
    ]),
  });
  const signature = sign("sha256", Buffer.from(AsnConvert.serialize(tbsCertificate)), issuerKey);
  return pemOf(AsnConvert.serialize(
    new Certificate({
      tbsCertificate,
      signatureAlgorithm: ecdsaWithSha256(),
      signatureValue: bufferOf(signature),
    }),
  ));
}

/** RFC 5758 3.2. */
function ecdsaWithSha256(): AlgorithmIdentifier {
  return new AlgorithmIdentifier({ algorithm: "1.2.840.10045.4.3.2" });
}

/** 20 octets at most, with the first bit clear and not all zero (RFC 5280 4.1.2.2). */
function positiveSerial(): Uint8Array {
  const bytes = randomBytes(16);
  bytes[0] = ((bytes[0] ?? 0) & 0x7f) | 0x40;
  return bytes;
}

function nameOf(commonName: string): Name {
  const value = new AttributeValue({ utf8String: commonName });
  const attribute = new AttributeTypeAndValue({ type: "2.5.4.3", value });
  return new Name([new RelativeDistinguishedName([attribute])]);
}

function generalName(name: string): GeneralName {
  return new GeneralName(isIP(name) === 0 ? { dNSName: name } : { iPAddress: name });
}

function extension(extnID: string, value: object): Extension {
  return new Extension({ extnID, extnValue: new OctetString(AsnConvert.serialize(value)) });
}

/** Clients may not ignore it. */
function critical(extnID: string, value: object): Extension {
  return Object.assign(extension(extnID, value), { critical: true });
}

/** RFC 7093 2, method 1: the first 160 bits of SHA-256. */
function keyIdentifier(publicKey: KeyObject): ArrayBuffer {
  return bufferOf(createHash("sha256").update(spkiOf(publicKey)).digest().subarray(0, 20));
}

function spkiOf(publicKey: KeyObject): Buffer {
  return publicKey.export({ type: "spki", format: "der" });
}

function bufferOf(bytes: Uint8Array): ArrayBuffer {
  return new Uint8Array(bytes).buffer;
}

function pemOf(der: ArrayBuffer): string {
  const lines = Buffer.from(der).toString("base64").match(/.{1,64}/g) ?? [];
  return `-----BEGIN CERTIFICATE-----\n${lines.join("\n")}\n-----END CERTIFICATE-----\n`;
}

function derOf(pem: string): Buffer {
  return Buffer.from(pem.replace(/-----[A-Z ]+-----|\s/g, ""), "base64");
}
