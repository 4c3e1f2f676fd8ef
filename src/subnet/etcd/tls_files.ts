/** Certificates and key for etcd, read from files that may be replaced at any time. */

import { statSync } from "node:fs";
import { readRegularText } from "../../files/regular_file.ts";
import { StoreError } from "../store.ts";

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

/** Holds the files' content and reads it anew when a file was replaced or rewritten. */
export class TlsFiles {
  readonly #names: TlsFileNames;
  #stamp = "";
  #material: TlsMaterial | undefined;

  constructor(names: TlsFileNames) {
    this.#names = names;
  }

  /**
   * The content as of now; the same object as long as no file has changed. While a file is missing,
   * as it is for a moment when files are rotated, the previous content stays; throws `StoreError`
   * when there is none.
   */
  current(): TlsMaterial {
    try {
      const stamp = this.#paths().map(fileStamp).join(" ");
      if (this.#material === undefined || stamp !== this.#stamp) {
        this.#material = this.#read();
        this.#stamp = stamp;
      }
    } catch (cause) {
      if (this.#material === undefined) {
        const reason = cause instanceof Error ? cause.message : String(cause);
        throw new StoreError(`cannot read the TLS files for etcd: ${reason}`, { cause });
      }
    }
    return this.#material;
  }

  #read(): TlsMaterial {
    const { caFile, certFile, keyFile } = this.#names;
    return {
      ...(caFile && { ca: readRegularText(caFile, MAX_FILE_BYTES) }),
      ...(certFile && { cert: readRegularText(certFile, MAX_FILE_BYTES) }),
      ...(keyFile && { key: readRegularText(keyFile, MAX_FILE_BYTES) }),
    };
  }

  #paths(): string[] {
    const { caFile, certFile, keyFile } = this.#names;
    return [caFile, certFile, keyFile].filter((path): path is string => Boolean(path));
  }
}

/** All authorities that a distribution trusts take a quarter of a megabyte. */
const MAX_FILE_BYTES = 16 * 1024 * 1024;

/** Changes when the file is rewritten, and when a new file takes its name. */
function fileStamp(path: string): string {
  const { ino, size, mtimeMs, ctimeMs } = statSync(path);
  return `${ino}/${size}/${mtimeMs}/${ctimeMs}`;
}
