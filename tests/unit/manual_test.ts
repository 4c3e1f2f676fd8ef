/** The manual: its links lead to pages and headings that exist, and its index names every page. */

import { expect, test } from "bun:test";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { posix } from "node:path";

const ROOT = new URL("../../", import.meta.url).pathname;

const pages = (readdirSync(`${ROOT}docs`, { recursive: true }) as string[])
  .filter((name) => name.endsWith(".md")).map((name) => `docs/${name}`)
  .concat("README.md", "CHANGELOG.md", "CONTRIBUTING.md");

test.each(pages)("the links of %s lead somewhere", (page) => {
  expect(linksOf(page).filter((link) => !leadsSomewhere(page, link))).toEqual([]);
});

test("a link to a heading that does not exist is noticed", () => {
  expect(leadsSomewhere("docs/running.md", "configuration.md#keys-in-etcd")).toBe(true);
  expect(leadsSomewhere("docs/running.md", "configuration.md#keys-in-consul")).toBe(false);
  expect(leadsSomewhere("docs/running.md", "no-such-page.md")).toBe(false);
});

test.each(["docs/README.md", "docs/adr/README.md"])("%s names every page", (index) => {
  const listed = linksOf(index).map((link) => targetOf(index, link));
  const wanted = pages.filter((page) => indexOf(page) === index);
  expect(wanted.length).toBeGreaterThan(10);
  expect(wanted.filter((page) => !listed.includes(page))).toEqual([]);
});

/** The index that has to name a page. */
function indexOf(page: string): string | undefined {
  if (!page.startsWith("docs/") || page === "docs/README.md") return undefined;
  return /^docs\/adr\/\d/.test(page) ? "docs/adr/README.md" : "docs/README.md";
}

function linksOf(page: string): string[] {
  return [...readFileSync(`${ROOT}${page}`, "utf8").matchAll(/\]\(([^)\s]+)\)/g)]
    .map(([, link]) => link as string).filter((link) => !/^https?:/.test(link));
}

function leadsSomewhere(page: string, link: string): boolean {
  const heading = link.split("#")[1];
  const target = targetOf(page, link);
  if (!existsSync(`${ROOT}${target}`)) return false;
  return heading === undefined || !target.endsWith(".md") || headingsOf(target).has(heading);
}

function targetOf(page: string, link: string): string {
  const [path = ""] = link.split("#");
  return path === "" ? page : posix.join(posix.dirname(page), path);
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
