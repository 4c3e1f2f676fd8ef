/**
 * Prints the bill of materials of an executable, in CycloneDX 1.5 or SPDX 2.3:
 *
 *     bun deploy/release/sbom.ts cyclonedx|spdx EXECUTABLE ARCHITECTURE LIBNL_VERSION
 *
 * `npm sbom` lists the JavaScript packages. What else the executable contains is added: the Bun
 * runtime with JavaScriptCore, and libnl. The output is the same each time: its time is
 * SOURCE_DATE_EPOCH, in seconds, and its identifier is derived from the executable.
 */

import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { basename } from "node:path";

interface Component {
  readonly name: string;
  readonly version: string;
  /** An SPDX identifier. */
  readonly license: string;
  /** https://github.com/package-url/purl-spec */
  readonly purl: string;
}

interface Subject {
  readonly fileName: string;
  /** Hexadecimal. */
  readonly sha256: string;
  readonly time: string;
  readonly added: readonly Component[];
}

interface CycloneDx {
  serialNumber: string;
  metadata: {
    timestamp: string;
    tools: unknown;
    component: Record<string, unknown> & { "bom-ref": string };
  };
  components: unknown[];
  dependencies: { ref: string; dependsOn: string[] }[];
}

interface Spdx {
  documentNamespace: string;
  creationInfo: { created: string; creators: string[] };
  documentDescribes: string[];
  packages: Record<string, unknown>[];
  relationships: unknown[];
}

const ROOT = new URL("../../", import.meta.url).pathname;
const FORMATS: Readonly<Record<string, (npm: unknown, subject: Subject) => unknown>> = {
  cyclonedx: (npm, subject) => cycloneDx(npm as CycloneDx, subject),
  spdx: (npm, subject) => spdx(npm as Spdx, subject),
};

const [format = "", executable, architecture, libnlVersion] = process.argv.slice(2);
const complete = FORMATS[format];
const epoch = process.env["SOURCE_DATE_EPOCH"];
if (complete === undefined || !executable || !architecture || !libnlVersion || !epoch) {
  console.error(
    "usage: SOURCE_DATE_EPOCH=SECONDS sbom.ts cyclonedx|spdx EXECUTABLE ARCHITECTURE LIBNL_VERSION",
  );
  process.exit(2);
}
const document = complete(npmDocument(format), {
  fileName: basename(executable),
  sha256: createHash("sha256").update(readFileSync(executable)).digest("hex"),
  time: new Date(Number(epoch) * 1000).toISOString().replace(".000", ""),
  added: addedComponents(architecture, libnlVersion),
});
console.log(JSON.stringify(document, null, 2));

/** From the lock file: what is installed may contain more. */
function npmDocument(format: string): unknown {
  const command = ["npm", "sbom", "--omit=dev", "--package-lock-only", `--sbom-format=${format}`];
  const { exitCode, stdout, stderr } = Bun.spawnSync(command, { cwd: ROOT });
  if (exitCode !== 0) throw new Error(`${command.join(" ")} failed: ${stderr.toString().trim()}`);
  return JSON.parse(stdout.toString());
}

function addedComponents(architecture: string, libnlVersion: string): readonly Component[] {
  const manifest = JSON.parse(readFileSync(`${ROOT}package.json`, "utf8")) as {
    devDependencies: { bun: string };
  };
  const bun = manifest.devDependencies.bun;
  // The runtime that runs this is the one that is compiled in.
  if (bun !== Bun.version) throw new Error(`this is Bun ${Bun.version}; package.json has ${bun}`);
  const webkit = process.versions["webkit"] as string;
  return [
    { name: "bun", version: bun, license: "MIT", purl: `pkg:github/oven-sh/bun@bun-v${bun}` },
    {
      name: "JavaScriptCore",
      version: webkit,
      license: "LGPL-2.1-only",
      purl: `pkg:github/oven-sh/WebKit@${webkit}`,
    },
    {
      name: "libnl3",
      version: libnlVersion,
      license: "LGPL-2.1-only",
      purl: `pkg:deb/debian/libnl3@${encodeURIComponent(libnlVersion)}?arch=${architecture}`,
    },
  ];
}

/** https://cyclonedx.org/docs/1.5/json/ */
function cycloneDx(npm: CycloneDx, { fileName, sha256, time, added }: Subject): CycloneDx {
  const { metadata, components, dependencies } = npm;
  const root = metadata.component["bom-ref"];
  const component = {
    ...metadata.component,
    type: "application",
    name: fileName,
    hashes: [{ alg: "SHA-256", content: sha256 }],
  };
  return {
    ...npm,
    serialNumber: `urn:uuid:${uuid(sha256)}`,
    metadata: { ...metadata, timestamp: time, tools: [], component },
    components: [
      ...components,
      ...added.map(({ license, ...rest }) => ({
        "bom-ref": reference(rest),
        type: "library",
        ...rest,
        scope: "required",
        licenses: [{ license: { id: license } }],
      })),
    ],
    dependencies: [
      ...dependencies.map((one) =>
        one.ref === root ? { ...one, dependsOn: [...one.dependsOn, ...added.map(reference)] } : one
      ),
      ...added.map((one) => ({ ref: reference(one), dependsOn: [] })),
    ],
  };
}

/** https://spdx.github.io/spdx-spec/v2.3/ */
function spdx(npm: Spdx, { fileName, sha256, time, added }: Subject): Spdx {
  const root = npm.documentDescribes[0] as string;
  return {
    ...npm,
    documentNamespace: `https://spdx.org/spdxdocs/${fileName}-${uuid(sha256)}`,
    creationInfo: { created: time, creators: ["Tool: npm"] },
    packages: [
      ...npm.packages.map((one) =>
        one["SPDXID"] === root
          ? {
            ...one,
            packageFileName: fileName,
            primaryPackagePurpose: "APPLICATION",
            checksums: [{ algorithm: "SHA256", checksumValue: sha256 }],
          }
          : one
      ),
      ...added.map((one) => ({
        name: one.name,
        SPDXID: spdxId(one),
        versionInfo: one.version,
        downloadLocation: "NOASSERTION",
        filesAnalyzed: false,
        licenseDeclared: one.license,
        externalRefs: [{
          referenceCategory: "PACKAGE-MANAGER",
          referenceType: "purl",
          referenceLocator: one.purl,
        }],
      })),
    ],
    relationships: [
      ...npm.relationships,
      ...added.map((one) => ({
        spdxElementId: root,
        relatedSpdxElement: spdxId(one),
        relationshipType: "CONTAINS",
      })),
    ],
  };
}

function reference({ name, version }: Pick<Component, "name" | "version">): string {
  return `${name}@${version}`;
}

function spdxId({ name, version }: Component): string {
  return `SPDXRef-Package-${name}-${version.replace(/[^\w.-]/g, "-")}`;
}

/** A UUID of version 8, RFC 9562, from a digest. */
function uuid(sha256: string): string {
  const [a, b, c, d, e] = [[0, 8], [8, 12], [13, 16], [17, 20], [20, 32]].map(([from, to]) =>
    sha256.slice(from, to)
  );
  return `${a}-${b}-8${c}-8${d}-${e}`;
}
