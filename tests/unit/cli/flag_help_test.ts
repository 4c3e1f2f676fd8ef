import { describe, expect, test } from "bun:test";
import { DATASTORE_FLAGS } from "../../../src/cli/datastore_flags.ts";
import type { Flag } from "../../../src/cli/flag.ts";
import { flagLines } from "../../../src/cli/flag_help.ts";
import { flagsPage } from "../../../src/cli/flags_page.ts";
import { LAB_FLAGS } from "../../../src/cli/lab_flags.ts";

const LAB = Object.values<Flag<unknown>>(LAB_FLAGS);

describe.each([["datastore", DATASTORE_FLAGS], ["lab", LAB]])("the help of %s", (_, flags) => {
  const lines = flagLines(flags);
  const page = flagsPage();

  test.each(flags.filter((flag) => !flag.isHidden).map(({ name }) => name))(
    "and the page of the manual have --%s",
    (name) => {
      const usage = `${name.length === 1 ? "-" : "--"}${name}`;
      expect(lines.some((line) => line.trim().split(" ")[0] === usage)).toBe(true);
      expect(page).toContain(`\n### \`${usage}`);
    },
  );

  test("fits 100 columns", () => {
    expect(Math.max(...lines.map((line) => line.length))).toBeLessThanOrEqual(100);
  });
});

test("a hidden flag is neither in the help nor in the manual", () => {
  expect(LAB.filter(({ isHidden }) => isHidden).map(({ name }) => name)).toEqual(["daemon"]);
  expect(flagLines(LAB).join("\n")).not.toContain("--daemon");
  expect(flagsPage()).not.toContain("--daemon");
});

test("names of flags are unique within a command", () => {
  for (const flags of [LAB, DATASTORE_FLAGS]) {
    expect(new Set(flags.map(({ name }) => name)).size).toBe(flags.length);
  }
});
