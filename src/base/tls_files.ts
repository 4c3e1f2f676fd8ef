/** Certificates and key of a TLS client, from files that may be replaced at any time. */

import { createPrivateKey, X509Certificate } from "node:crypto";
import { errorMessage, OperatorError } from "./operator_error.ts";
import { readRegularText } from "./regular_file.ts";
import { RereadFiles, type RereadOutcome } from "./reread_files.ts";

export interface TlsFileNames {
  /** Certificates to trust instead of the system's. */
  readonly caFile?: string | undefined;
  /** Client certificate; needs `keyFile`. */
  readonly certFile?: string | undefined;
  readonly keyFile?: string | undefined;
}

/** Content that is in no file of its own; each takes the place of the file. */
export interface TlsTexts {
  readonly ca?: PemText | undefined;
  readonly cert?: PemText | undefined;
  readonly key?: PemText | undefined;
}

export interface PemText {
  readonly text: string;
  /** For messages, such as `client-key-data of user "admin"`. */
  readonly name: string;
}

export interface TlsMaterial {
  readonly ca?: string;
  readonly cert?: string;
  readonly key?: string;
}

export interface TlsFilesOptions {
  /** For messages: whose server the files are for, such as `etcd`. */
  readonly purpose: string;
  readonly outcome?: RereadOutcome | undefined;
}

/** The files are missing or unusable. */
export class TlsFilesError extends OperatorError {
  override readonly name = "TlsFilesError";
}

/** The files' content, read again when a file was replaced or rewritten. */
export class TlsFiles {
  readonly #purpose: string;
  readonly #files: RereadFiles<TlsMaterial>;

  constructor(
    sources: TlsFileNames & { readonly texts?: TlsTexts },
    { purpose, outcome }: TlsFilesOptions,
  ) {
    this.#purpose = purpose;
    const { texts = {}, caFile, certFile, keyFile } = sources;
    const ca = texts.ca ?? caFile;
    const cert = texts.cert ?? certFile;
    const key = texts.key ?? keyFile;
    this.#files = new RereadFiles({
      paths: [ca, cert, key].filter((one): one is string => typeof one === "string" && one !== ""),
      read: () => readMaterial({ ca, cert, key }),
      outcome,
    });
  }

  /**
   * The content as of now; the same object as long as no file has changed. While a file is missing,
   * empty, or does not fit the others, as it is for a moment when files are rotated, the previous
   * content stays; throws `TlsFilesError` when there is none.
   */
  current(): TlsMaterial {
    try {
      return this.#files.current();
    } catch (cause) {
      const text = `cannot read the TLS files for ${this.#purpose}: ${errorMessage(cause)}`;
      throw new TlsFilesError(text, { cause });
    }
  }
}

/** The path of a file, or its content. */
type PemSource = string | PemText | undefined;

function readMaterial(
  sources: { readonly ca: PemSource; readonly cert: PemSource; readonly key: PemSource },
): TlsMaterial {
  const ca = sources.ca && readCertificates(sources.ca);
  const cert = sources.cert && readCertificates(sources.cert);
  const key = sources.key && readKey(sources.key);
  if (cert && key && !isKeyOf(cert, key)) {
    const [certName, keyName] = [nameOf(sources.cert), nameOf(sources.key)];
    throw new Error(`${keyName} is not the key of the certificate in ${certName}`);
  }
  return { ...(ca && { ca }), ...(cert && { cert }), ...(key && { key }) };
}

function nameOf(source: PemSource): string {
  return typeof source === "object" ? source.name : source ?? "";
}

function textOf(source: string | PemText): string {
  return typeof source === "object" ? source.text : readRegularText(source, MAX_FILE_BYTES);
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
function readCertificates(source: string | PemText): string {
  const text = textOf(source);
  const certificates = text.match(PEM_CERTIFICATE) ?? [];
  const readable = certificates.filter(isReadable);
  if (readable.length > 0) return readable.join("\n");
  const what = certificates.length === 0 ? "no certificate in PEM form" : "a damaged certificate";
  throw new Error(`${nameOf(source)} has ${what}`);
}

function isReadable(certificate: string): boolean {
  try {
    return new X509Certificate(certificate).subject !== undefined;
  } catch {
    return false;
  }
}

/** OpenSSL's messages about a key do not show it. */
function readKey(source: string | PemText): string {
  const text = textOf(source);
  try {
    createPrivateKey(text);
  } catch (cause) {
    throw new Error(`${nameOf(source)} has no unencrypted private key in PEM form`, { cause });
  }
  return text;
}

function isKeyOf(certificate: string, key: string): boolean {
  return new X509Certificate(certificate).checkPrivateKey(createPrivateKey(key));
}
