/** Certificates and key for etcd, from files that may be replaced at any time. */

import { createPrivateKey, X509Certificate } from "node:crypto";
import { statSync } from "node:fs";
import { readRegularText } from "../../base/regular_file.ts";
import { errorMessage, OperatorError } from "../../base/operator_error.ts";

export interface TlsFileNames {
  /** Certificates to trust instead of the system's. */
  readonly caFile?: string | undefined;
  /** Client certificate; needs `keyFile`. */
  readonly certFile?: string | undefined;
  readonly keyFile?: string | undefined;
}

export interface TlsMaterial {
  readonly ca?: string;
  readonly cert?: string;
  readonly key?: string;
}

/** The files are missing or unusable. */
export class TlsFilesError extends OperatorError {
  override readonly name = "TlsFilesError";
}

/** The files' content, read again when a file was replaced or rewritten. */
export class TlsFiles {
  readonly #names: TlsFileNames;
  #held: { readonly stamp: string; readonly material: TlsMaterial } | undefined;

  constructor(names: TlsFileNames) {
    this.#names = names;
  }

  /**
   * The content as of now; the same object as long as no file has changed. While a file is missing,
   * empty, or does not fit the others, as it is for a moment when files are rotated, the previous
   * content stays; throws `TlsFilesError` when there is none.
   */
  current(): TlsMaterial {
    try {
      const stamp = this.#paths().map(fileStamp).join(" ");
      if (this.#held?.stamp !== stamp) this.#held = { stamp, material: this.#read() };
    } catch (cause) {
      if (this.#held === undefined) {
        const text = `cannot read the TLS files for etcd: ${errorMessage(cause)}`;
        throw new TlsFilesError(text, { cause });
      }
    }
    return this.#held.material;
  }

  #read(): TlsMaterial {
    const { caFile, certFile, keyFile } = this.#names;
    const ca = caFile && readCertificates(caFile);
    const cert = certFile && readCertificates(certFile);
    const key = keyFile && readKey(keyFile);
    if (cert && key && !isKeyOf(cert, key)) {
      throw new Error(`${keyFile} is not the key of the certificate in ${certFile}`);
    }
    return { ...(ca && { ca }), ...(cert && { cert }), ...(key && { key }) };
  }

  #paths(): string[] {
    const { caFile, certFile, keyFile } = this.#names;
    return [caFile, certFile, keyFile].filter((path): path is string => Boolean(path));
  }
}

/** A distribution's bundle of CAs has a quarter of a megabyte. */
const MAX_FILE_BYTES = 16 * 1024 * 1024;
const PEM_CERTIFICATE =
  /-----BEGIN (X509 |TRUSTED )?CERTIFICATE-----[^]*?-----END (X509 |TRUSTED )?CERTIFICATE-----/g;

/**
 * The readable certificates of a file, at least one: without any, TLS would trust the CAs of the
 * system and of environment variables. Unreadable ones are skipped: a single certificate of an
 * unknown kind in a long bundle would make TLS reject all of them.
 */
function readCertificates(path: string): string {
  const text = readRegularText(path, MAX_FILE_BYTES);
  const certificates = text.match(PEM_CERTIFICATE) ?? [];
  const readable = certificates.filter(isReadable);
  if (readable.length > 0) return readable.join("\n");
  const what = certificates.length === 0 ? "no certificate in PEM form" : "a damaged certificate";
  throw new Error(`${path} has ${what}`);
}

function isReadable(certificate: string): boolean {
  try {
    return new X509Certificate(certificate).subject !== undefined;
  } catch {
    return false;
  }
}

/** OpenSSL's messages about a key do not show it. */
function readKey(path: string): string {
  const text = readRegularText(path, MAX_FILE_BYTES);
  try {
    createPrivateKey(text);
  } catch (cause) {
    throw new Error(`${path} has no unencrypted private key in PEM form`, { cause });
  }
  return text;
}

function isKeyOf(certificate: string, key: string): boolean {
  return new X509Certificate(certificate).checkPrivateKey(createPrivateKey(key));
}

/** Changes when the file is rewritten, and when a new file takes its name. */
function fileStamp(path: string): string {
  const { ino, size, mtimeMs, ctimeMs } = statSync(path);
  return `${ino}/${size}/${mtimeMs}/${ctimeMs}`;
}
