/** The CA of a datastore: a key and a certificate in its data directory, made once. */

import { existsSync } from "node:fs";
import { createPrivateKey, X509Certificate } from "node:crypto";
import { join } from "node:path";
import { errorMessage } from "../../base/operator_error.ts";
import { createFile, readRegularText, replaceFile } from "../../base/regular_file.ts";
import { caFingerprint } from "../../join/ca_fingerprint.ts";
import { DatastoreError } from "../mvcc/datastore_error.ts";
import { ACCESS_FILE } from "./access_record.ts";
import { makeDirectory } from "../mvcc/storage_file.ts";
import type { KeyedCertificate } from "./certificate.ts";

export const CA_CERTIFICATE = "ca.crt";
const CA_KEY = "ca.key";

export interface DatastoreCa extends KeyedCertificate {
  /** What nodes trust it by; see `caFingerprint`. */
  readonly fingerprint: string;
}

/** Whether this directory has been served with tokens, even if some of its files are lost. */
export function hasRequiredTokens(directory: string): boolean {
  return [CA_CERTIFICATE, CA_KEY, ACCESS_FILE].some((name) => existsSync(join(directory, name)));
}

/**
 * Reads the CA, or makes one if there is none, with the private key given or a new one; processes
 * that start together get the same one. Throws `DatastoreError` for unusable files.
 */
export async function openCa(directory: string, privateKey?: string): Promise<DatastoreCa> {
  try {
    makeDirectory(directory);
  } catch (cause) {
    if (cause instanceof DatastoreError) throw cause;
    throw new DatastoreError(`cannot create --data-dir ${directory}: ${errorMessage(cause)}`, {
      cause,
    });
  }
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
