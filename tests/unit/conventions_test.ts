/**
 * The conventions that neither the formatter nor the linter checks: the words and the length of
 * lines everywhere, and the shape of the source's files, classes and parameters. `deno fmt` lays
 * out the code, so regular expressions can read its lines.
 */

import { describe, expect, test } from "bun:test";
import { readdirSync, readFileSync } from "node:fs";
import { posix } from "node:path";

const ROOT = new URL("../../", import.meta.url).pathname;

const MAX_LINE = 100;
const MAX_FIELDS = 12;
const MAX_CLASS_LINES = 300;

/** Words that this project does not use, in any form, with those that it uses instead. */
const WORDS: Readonly<Record<string, string>> = {
  "somebody( else)?('s)?": "another program, another node, the name of the role",
  "nobody|no one": "no program, no node; or a sentence with another subject",
  "whoever|whomever": "the program that …, the node that …",
  "anew": "again; recreate",
  "beside": "next to, besides, in addition to",
  "tell|tells|telling|told": "notify, report, log",
  "hear|hears|heard|hearing": "receive, be notified",
  "goes on|go on|went on|going on": "continue",
  "mak(e|es|ing) (no )?sense": "be valid, be invalid",
  "put(s|ting)? (right|back)": "repair, restore",
  "must not": "may not, cannot",
  "fights?|fought|fighting": "keeps modifying; RepairLimiter",
  "troubles?|troubled": "failure, problem",
  "(im)?plausib(le|ly|ility)": "valid, invalid",
  "projectors?": "OverlayController",
  "sinks?": "EntryStore; output",
  "spoilt|spoils?": "stale, unverified",
  "judge[sd]?": "planner, plan",
  "mirror(s|ed)?": "KernelCache (a Debian mirror is fine in docs)",
  "left ?overs?": "orphan",
  "side tables?": "kernel table",
  "advertisers?": "PublicAddressPublisher",
  "mend(s|ed|ing)?": "repair, fix",
};

/** Where such a word is right: a file, and the word as it stands there. */
const EXCEPTIONS: readonly { readonly file: string; readonly word: string }[] = [
  { file: "docs/testing.md", word: "mirror" }, // Debian's
  { file: "tests/netns/wireguard_userspace_test.ts", word: "go on" }, // wireguard-go on a kernel
  { file: "docs/adr/0001-bun-and-npm.md", word: "mirror" }, // npm's
  { file: "docs/install.md", word: "mirror" }, // a host with releases
  { file: "docs/install.md", word: "MIRROR" },
  { file: "docs/cloud-init.md", word: "mirror" },
  { file: "docs/cloud-init.md", word: "MIRROR" },
  { file: "tests/deliver/cloud_init_test.ts", word: "MIRROR" },
  { file: "docs/upgrade.md", word: "mirror" },
  { file: "docs/release.md", word: "mirror" },
  { file: "docs/upgrade.md", word: "MIRROR" },
  { file: "README.md", word: "mirror" },
  { file: "README.md", word: "MIRROR" },
  { file: "tests/deliver/install_test.ts", word: "mirror" },
  { file: "tests/deliver/install_script_test.ts", word: "mirror" },
  { file: "tests/deliver/install_script_test.ts", word: "MIRROR" },
  { file: "tests/support/machines/quick_start.ts", word: "MIRROR" }, // what README.md writes
];

const sources = filesBelow("src", "ffi").filter((file) => !file.endsWith("_pb.ts"));
/** All but this one, which has the words. */
const tests = filesBelow("tests").filter((file) => file !== "tests/unit/conventions_test.ts");
const docs = [...readdirSync(`${ROOT}docs`, { recursive: true }) as string[]]
  .filter((name) => name.endsWith(".md")).map((name) => `docs/${name}`).concat("README.md");

describe("words", () => {
  const pattern = new RegExp(`\\b(${Object.keys(WORDS).join("|")})\\b`, "gi");

  test("of the list are found", () => {
    expect("it is told what somebody puts right".match(pattern)).toHaveLength(3);
    expect("a stellar sinking feeling, besides".match(pattern)).toBeNull();
  });

  test.each([...sources, ...tests, ...docs])("%s has none of the list", (file) => {
    const allowed = EXCEPTIONS.filter((one) => one.file === file).map(({ word }) => word);
    const found = linesOf(file).flatMap((line, index) =>
      (line.match(pattern) ?? []).filter((word) => !allowed.includes(word))
        .map((word) => `${file}:${index + 1}: ${word}`)
    );
    expect(found).toEqual([]);
  });
});

describe("shape", () => {
  test(`no line of code is longer than ${MAX_LINE} characters`, () => {
    const long = [...sources, ...tests].flatMap((file) =>
      linesOf(file).flatMap((line, index) =>
        line.length > MAX_LINE ? [`${file}:${index + 1}: ${line.length}`] : []
      )
    );
    expect(long).toEqual([]);
  });

  test(`no class has more than ${MAX_FIELDS} fields or ${MAX_CLASS_LINES} lines`, () => {
    const classes = sources.flatMap(classesOf);
    expect(classes.length).toBeGreaterThan(50);
    const large = classes.filter(({ fields, lines }) =>
      fields > MAX_FIELDS || lines > MAX_CLASS_LINES
    );
    expect(large).toEqual([]);
  });

  test("no parameter by position is a boolean: a call does not show what it means", () => {
    const signature =
      /(?:function \w+(?:<[^>]*>)?|^ {2}(?:static |async )*#?\w+|constructor)\(([^)]*)\)/gm;
    const found = sources.flatMap((file) =>
      [...read(file).matchAll(signature)].filter(([whole, parameters = ""]) =>
        /:\s*boolean\b/.test(parameters) && !parameters.includes("{") &&
        !/^ {2}(if|for|while|switch|return)\b/.test(whole)
      ).map(([whole]) => `${file}: ${whole.replace(/\s+/g, " ")}`)
    );
    expect(found).toEqual([]);
  });

  test("time is taken from a clock that a test can move", () => {
    const direct = /\bDate\.now\(|\bperformance\.now\(|\bset(Timeout|Interval)\(|\bBun\.sleep/;
    const users = sources.filter((file) => direct.test(read(file)));
    expect(users).toEqual(["src/base/clock.ts"]);
  });
});

describe("names", () => {
  test("of files are used once", () => {
    expect(repeated(sources.map((file) => [posix.basename(file), file]))).toEqual([]);
  });

  test("of what is exported are used once", () => {
    const exported = sources.flatMap((file) =>
      [
        ...read(file).matchAll(
          /^export (?:async |abstract )?(?:function\*?|const|class|interface|type|enum) (\w+)/gm,
        ),
      ].map(([, name]): [string, string] => [name as string, file])
    );
    // Each backend has a table of its own options.
    expect(repeated(exported.filter(([name]) => name !== "OPTIONS"))).toEqual([]);
  });
});

function filesBelow(...folders: string[]): string[] {
  return folders.flatMap((folder) =>
    (readdirSync(`${ROOT}${folder}`, { recursive: true }) as string[])
      .filter((name) => name.endsWith(".ts")).map((name) => `${folder}/${name}`)
  ).sort();
}

function read(file: string): string {
  return readFileSync(`${ROOT}${file}`, "utf8");
}

function linesOf(file: string): string[] {
  return read(file).split("\n");
}

function classesOf(file: string): { name: string; fields: number; lines: number }[] {
  const lines = linesOf(file);
  return lines.flatMap((line, start) => {
    const name = /^(?:export )?(?:abstract )?class (\w+)/.exec(line)?.[1];
    if (name === undefined) return [];
    const end = lines.indexOf("}", start);
    const field =
      /^ {2}(?:(?:private|readonly|static|declare|override|abstract) )*#?\w+(?:[?!]?: [^(]| =|;)/;
    const fields = lines.slice(start, end).filter((one) =>
      field.test(one) && !/^ {2}(get|set|return)\b/.test(one)
    ).length;
    return [{ name: `${file} ${name}`, fields, lines: end - start + 1 }];
  });
}

function repeated(entries: readonly (readonly [name: string, file: string])[]): string[] {
  const files = Map.groupBy(entries, ([name]) => name);
  return [...files].filter(([, uses]) => uses.length > 1)
    .map(([name, uses]) => `${name}: ${uses.map(([, file]) => file).join(" ")}`);
}
