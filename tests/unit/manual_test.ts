/** Links within the manual lead to pages and headings that exist. */

import { expect, test } from "bun:test";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { posix } from "node:path";

const ROOT = new URL("../../", import.meta.url).pathname;

const pages = (readdirSync(`${ROOT}docs`, { recursive: true }) as string[])
  .filter((name) => name.endsWith(".md")).map((name) => `docs/${name}`)
  .concat("README.md", "CHANGELOG.md");

test.each(pages)("the links of %s lead somewhere", (page) => {
  expect(linksOf(page).filter((link) => !leadsSomewhere(page, link))).toEqual([]);
});

test("a link to a heading that does not exist is noticed", () => {
  expect(leadsSomewhere("docs/running.md", "configuration.md#keys-in-etcd")).toBe(true);
  expect(leadsSomewhere("docs/running.md", "configuration.md#keys-in-consul")).toBe(false);
  expect(leadsSomewhere("docs/running.md", "no-such-page.md")).toBe(false);
});

function linksOf(page: string): string[] {
  return [...readFileSync(`${ROOT}${page}`, "utf8").matchAll(/\]\(([^)\s]+)\)/g)]
    .map(([, link]) => link as string).filter((link) => !/^https?:/.test(link));
}

function leadsSomewhere(page: string, link: string): boolean {
  const [path = "", heading] = link.split("#");
  const target = path === "" ? page : posix.join(posix.dirname(page), path);
  if (!existsSync(`${ROOT}${target}`)) return false;
  return heading === undefined || !target.endsWith(".md") || headingsOf(target).has(heading);
}

/** The headings of a page as anchors: lower case, hyphens for spaces, no punctuation. */
function headingsOf(page: string): Set<string> {
  const headings = readFileSync(`${ROOT}${page}`, "utf8").matchAll(/^#+ (.+)$/gm);
  return new Set(
    [...headings].map(([, text]) =>
      (text as string).toLowerCase().replace(/[^\w\- ]/g, "").replaceAll(" ", "-")
    ),
  );
}
