/** The completion of shells, by the shells themselves. */

import { afterAll, describe, expect, test } from "bun:test";
import { mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { BACKENDS } from "../../src/backend/backend_registry.ts";
import { shownPaths } from "../../src/cli/command.ts";
import { FLANNELD } from "../../src/cli/commands.ts";
import type { Flag } from "../../src/cli/flag.ts";
import { completions } from "../support/shell_completion.ts";

const directory = mkdtempSync(join(tmpdir(), "completion-"));
writeFileSync(join(directory, "key.pem"), "");
writeFileSync(join(directory, "net-conf.json"), "");
mkdirSync(join(directory, "keys"));
afterAll(() => rmSync(directory, { recursive: true, force: true }));

describe.each(["bash", "zsh", "fish"] as const)("%s", (shell) => {
  async function offered(line: string): Promise<string[]> {
    const words = await completions(shell, line, directory);
    // fish offers the whole word, the others what follows the equals sign.
    return words.map((word) => word.replace(/^--?[\w-]+=/, "").replace(/\/$/, "")).sort();
  }

  test("offers the subcommands, and those of a subcommand", async () => {
    expect(await offered("flanneld ")).toEqual(FLANNELD.commands.map(({ name }) => name).sort());
    expect(await offered("flanneld in")).toEqual(["install-cni"]);
    expect(await offered("flanneld datastore ")).toEqual(
      ["export", "import", "migrate", "token", "user"],
    );
    expect(await offered("flanneld help data")).toEqual(["datastore"]);
  });

  test.each(shownPaths([FLANNELD]).map((path) => path.map(({ name }) => name).join(" ")))(
    "offers the flags of %s",
    async (command) => {
      const path = shownPaths([FLANNELD])
        .find((one) => one.map(({ name }) => name).join(" ") === command) ?? [];
      const flags = Object.values<Flag<unknown>>(path.at(-1)?.flags ?? {})
        .filter(({ name, isHidden }) => !isHidden && name.length > 1);
      const requests = path.length === 1 ? ["--help", "--version"] : ["--help"];
      expect(await offered(`${command} --`))
        .toEqual([...flags.map(({ name }) => `--${name}`), ...requests].sort());
    },
  );

  test("offers the values of a flag, after a space and after an equals sign", async () => {
    expect(await offered("flanneld --log-format ")).toEqual(["json", "text"]);
    expect(await offered("flanneld --log-format=j")).toEqual(["json"]);
    expect(await offered("flanneld datastore -v ")).toEqual(["0", "1", "2", "3", "4", "5"]);
    expect(await offered("flanneld lab --backend=")).toEqual([...BACKENDS.types].sort());
    expect(await offered("flanneld lab --hosts 3 --backend wire")).toEqual(["wireguard"]);
    expect(await offered("flanneld --iface l")).toEqual(["lo"]);
  });

  test("offers files and directories", async () => {
    expect(await offered("flanneld --etcd-keyfile ")).toEqual(["key.pem", "keys", "net-conf.json"]);
    expect(await offered("flanneld datastore --net-config-path=net"))
      .toEqual(["net-conf.json"]);
    expect(await offered("flanneld install-cni --bin-dir k")).toEqual(["keys"]);
    expect(await offered("flanneld --etcd-prefix ")).toEqual([]);
  });

  test("takes no value of a flag for a subcommand", async () => {
    expect(await offered("flanneld datastore --data-dir export --list")).toEqual(["--listen"]);
    expect(await offered("flanneld lab --keep --json --ipv6-")).toEqual(["--ipv6-only"]);
  });
});

test("every file is one of those that are generated", () => {
  const folder = new URL("../../deploy/completion", import.meta.url).pathname;
  expect(readdirSync(folder).sort()).toEqual(["_flanneld", "flanneld.bash", "flanneld.fish"]);
});
