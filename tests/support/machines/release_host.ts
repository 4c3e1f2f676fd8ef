/** A host that serves releases over https, laid out as in docs/install.md. */

import { appendFileSync, copyFileSync, existsSync, mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { TestCa } from "../certificates.ts";
import { FLANNELD } from "../host.ts";
import { TEST_ADDRESSES } from "./machine_network.ts";
import { runCommand } from "../run_command.ts";

const REPOSITORY = new URL("../../../", import.meta.url).pathname;
export const INSTALL_SCRIPT = join(REPOSITORY, "deploy/install.sh");
/** The name of the host, for machines that have it in /etc/hosts. */
export const RELEASE_HOST = "releases.example.com";
/** The executable's name in a release for this machine. */
const EXECUTABLE = `flanneld-linux-${process.arch === "arm64" ? "arm64" : "amd64"}`;

/** Makes a release in a directory, with this text after the executable or in place of it. */
export async function writeRelease(
  directory: string,
  executable: { readonly appended: string } | { readonly script: string },
): Promise<void> {
  mkdirSync(directory, { recursive: true });
  const path = join(directory, EXECUTABLE);
  if ("script" in executable) {
    writeFileSync(path, executable.script);
  } else {
    copyFileSync(FLANNELD, path);
    appendFileSync(path, executable.appended);
  }
  copyFileSync(INSTALL_SCRIPT, join(directory, "install.sh"));
  const folders = ["deploy/systemd", "deploy/man", "deploy/completion"]
    .filter((folder) => existsSync(join(REPOSITORY, folder)));
  const archive = join(directory, "flanneld-deploy.tar.gz");
  await runCommand("tar", ["-czf", archive, "-C", REPOSITORY, ...folders]);
  await writeChecksums(directory);
}

async function writeChecksums(directory: string): Promise<void> {
  const script = 'cd "$0" && sha256sum $(ls | grep -v SHA256SUMS) >SHA256SUMS';
  await runCommand("sh", ["-ec", script, directory]);
}

/** Replaces the executable of a release by its compressed form. */
export async function compressRelease(directory: string): Promise<void> {
  const path = join(directory, EXECUTABLE);
  await runCommand("sh", ["-ec", 'gzip -1 --keep "$0"', path]);
  await writeChecksums(directory);
  await runCommand("rm", [path]);
}

/** Changes the executable of a release, but not its checksum. */
export function damageRelease(directory: string): void {
  appendFileSync(join(directory, EXECUTABLE), "damaged");
}

export interface ReleaseHostOptions {
  /** By default that of the test on the machines' network, which has to exist. */
  readonly address?: string;
  /** Instead of the file of a path. */
  readonly respond?: (pathname: string) => Response | Promise<Response> | undefined;
}

export class ReleaseHost implements AsyncDisposable {
  readonly url: string;
  /** The paths that were requested. */
  readonly requests: string[] = [];
  readonly #ca = new TestCa("release host");
  readonly #server: Bun.Server<undefined>;

  constructor(
    directory: string,
    { address = TEST_ADDRESSES[4], respond = () => undefined }: ReleaseHostOptions = {},
  ) {
    const { certFile, keyFile } = this.#ca.sign("release-host", [
      `IP:${address}`,
      `DNS:${RELEASE_HOST}`,
    ]);
    this.#server = Bun.serve({
      hostname: address,
      port: 443,
      tls: { cert: Bun.file(certFile), key: Bun.file(keyFile) },
      fetch: ({ url }) => {
        const { pathname } = new URL(url);
        this.requests.push(pathname);
        const response = respond(pathname);
        if (response !== undefined) return response;
        const path = join(directory, pathname);
        return existsSync(path)
          ? new Response(Bun.file(path))
          : new Response("not found\n", { status: 404 });
      },
    });
    this.url = `https://${address}`;
  }

  /** The certificate with which clients verify it (PEM). */
  async caCertificate(): Promise<string> {
    return await Bun.file(this.#ca.caFile).text();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#server.stop(true);
    this.#ca[Symbol.dispose]();
  }
}
