/** The licenses of the npm packages that the executable contains. */

import { readdirSync, readFileSync } from "node:fs";

const root = new URL("../../", import.meta.url).pathname;

/** The license of each package that the executable contains, in alphabetical order. */
export function thirdPartyLicenses(): string {
  const lock = JSON.parse(readFileSync(`${root}package-lock.json`, "utf8")) as {
    packages: Record<string, { version: string; license?: string; dev?: boolean }>;
  };
  const texts: string[] = [];
  for (const path of Object.keys(lock.packages).sort()) {
    const entry = lock.packages[path];
    if (path === "" || entry === undefined || entry.dev) continue;
    const name = path.slice(path.lastIndexOf("node_modules/") + "node_modules/".length);
    texts.push(`${name} ${entry.version} (${entry.license})\n\n${licenseFile(`${root}${path}`)}\n`);
  }
  return texts.join(`\n${"-".repeat(78)}\n\n`);
}

function licenseFile(folder: string): string {
  const file = readdirSync(folder).find((name) => /^licen[cs]e(\.|$)/i.test(name));
  if (file !== undefined) return readFileSync(`${folder}/${file}`, "utf8").trim();
  return "This package ships no copy of its licence; its terms are those named above.";
}
