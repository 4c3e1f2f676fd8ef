/** The CA of a datastore: a key and a certificate in its data directory, made once. */

import { existsSync } from "node:fs";
import { createPrivateKey, X509Certificate } from "node:crypto";
import { join } from "node:path";
import { errorMessage } from "../../base/operator_error.ts";
import { createFile, readRegularText, replaceFile } from "../../base/regular_file.ts";
import { caFingerprint } from "../../join/ca_fingerprint.ts";
import { DatastoreError } from "../mvcc/datastore_error.ts";
import { ACCESS_FILE } from "./access_record.ts";
import type { KeyedCertificate } from "./certificate.ts";

export const CA_CERTIFICATE = "ca.crt";
const CA_KEY = "ca.key";
const TOKEN_FILES = [CA_KEY, CA_CERTIFICATE, ACCESS_FILE];

export interface DatastoreCa extends KeyedCertificate {
  /** What nodes trust it by; see `caFingerprint`. */
  readonly fingerprint: string;
}

/** Whether this directory has been served with tokens, even if some of its files are lost. */
export function hasTokenFiles(directory: string): boolean {
  return TOKEN_FILES.some((name) => existsSync(join(directory, name)));
}

/** For a directory with data that required tokens, but without any of their files. */
export function tokenFilesLost(directory: string): DatastoreError {
  return new DatastoreError(
    `the data in ${directory} requires tokens, but ${CA_KEY}, ${CA_CERTIFICATE} and ` +
      `${ACCESS_FILE} are missing there; restore them from the backup of the data, or set ` +
      "--insecure=false to make a new CA and a new token, with which every node has to join again",
  );
}

/**
 * Reads the CA, or makes one if there is none, with the private key given or a new one, in a
 * directory that this process has locked. Throws `DatastoreError` for unusable files.
 */
export async function openCa(directory: string, privateKey?: string): Promise<DatastoreCa> {
  const [keyFile, certFile] = [join(directory, CA_KEY), join(directory, CA_CERTIFICATE)];
  try {
    if (!existsSync(certFile)) await createCa({ keyFile, certFile, privateKey });
    const ca = { key: readPem(keyFile), cert: readPem(certFile) };
    const certificate = new X509Certificate(ca.cert);
    if (!certificate.checkPrivateKey(createPrivateKey(ca.key))) {
      throw new Error(`${keyFile} is not the key of ${certFile}`);
    }
    return { ...ca, fingerprint: caFingerprint(certificate) };
  } catch (cause) {
    throw new DatastoreError(
      `cannot use the CA in ${directory}: ${errorMessage(cause)}; restore ${CA_KEY} and ` +
        `${CA_CERTIFICATE} from a backup, or remove both to make a new CA and have every node ` +
        "join again",
      { cause },
    );
  }
}

/** The certificate last: a directory with a certificate has a whole CA. */
async function createCa(
  { keyFile, certFile, privateKey }: {
    readonly keyFile: string;
    readonly certFile: string;
    readonly privateKey: string | undefined;
  },
): Promise<void> {
  const { caCertificate, newPrivateKey } = await import("./certificate.ts");
  await createFile(keyFile, privateKey ?? newPrivateKey(), PRIVATE);
  const certificate = caCertificate(readPem(keyFile), "flanneld datastore CA");
  await replaceFile(certFile, certificate, PRIVATE);
}

const PRIVATE = { mode: 0o600, flush: true } as const;
const MAX_PEM_BYTES = 64 * 1024;

function readPem(path: string): string {
  return readRegularText(path, MAX_PEM_BYTES);
}
