/** Certificates for tests, made with openssl. */

import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

export interface CertificateFiles {
  readonly certFile: string;
  readonly keyFile: string;
}

/** A certificate authority and the certificates that it signs, in a folder of its own. */
export class TestCa implements Disposable {
  readonly caFile: string;
  readonly #keyFile: string;
  readonly #directory: string;

  /** `parent`: where its folder is made, by default among the temporary files. */
  constructor(name = "test CA", parent = tmpdir()) {
    this.#directory = mkdtempSync(join(parent, "test-ca-"));
    this.caFile = join(this.#directory, "ca.crt");
    this.#keyFile = join(this.#directory, "ca.key");
    openssl(
      ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"],
      ["-days", "2", "-subj", `/CN=${name}`, "-keyout", this.#keyFile, "-out", this.caFile],
    );
  }

  /**
   * `names`: the subject's alternative names, such as "IP:127.0.0.1" or "DNS:localhost".
   * `organization`: what Kubernetes takes for the group of a user.
   */
  sign(
    commonName: string,
    names: readonly string[] = [],
    organization?: string,
  ): CertificateFiles {
    const base = join(this.#directory, `${commonName}-${crypto.randomUUID()}`);
    const [keyFile, requestFile, certFile] = [`${base}.key`, `${base}.csr`, `${base}.crt`];
    const extensions = `${base}.ext`;
    writeFileSync(
      extensions,
      "extendedKeyUsage = serverAuth, clientAuth\n" +
        (names.length > 0 ? `subjectAltName = ${names.join(", ")}\n` : ""),
    );
    openssl(
      ["req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"],
      ["-subj", `${organization === undefined ? "" : `/O=${organization}`}/CN=${commonName}`],
      ["-keyout", keyFile, "-out", requestFile],
    );
    openssl(
      ["x509", "-req", "-in", requestFile, "-CA", this.caFile, "-CAkey", this.#keyFile],
      ["-CAcreateserial", "-days", "2", "-extfile", extensions, "-out", certFile],
    );
    return { certFile, keyFile };
  }

  /** The path of a file with this content. */
  file(name: string, content: string): string {
    const path = join(this.#directory, name);
    writeFileSync(path, content);
    return path;
  }

  [Symbol.dispose](): void {
    rmSync(this.#directory, { recursive: true, force: true });
  }
}

function openssl(...args: readonly (readonly string[])[]): void {
  const { exitCode, stderr } = Bun.spawnSync(["openssl", ...args.flat()]);
  if (exitCode !== 0) throw new Error(`openssl ${args.flat().join(" ")}: ${stderr}`);
}
