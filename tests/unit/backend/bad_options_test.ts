/** Each option of each backend, as the manual lists it, with a value that it cannot have. */

import { afterAll, describe, expect, test } from "bun:test";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { BACKENDS } from "../../../src/backend/backend_registry.ts";
import { ConfigError } from "../../../src/config/config_error.ts";
import { FakeKernel } from "../../support/fake_kernel.ts";
import { backendHost, config, HOST } from "../../support/sample_network.ts";

const WHERE = "the network configuration's Backend object";
const SECRETS = new Set(["PSK", "AccessKeySecret"]);

/** Values of the right type that are refused, with the values that the error allows. */
const OUT_OF_RANGE: Readonly<Record<string, Readonly<Record<string, [unknown[], string]>>>> = {
  extension: {
    CommandTimeoutSeconds: [[0, 3601, 1.5], "an integer from 1 to 3600"],
    MTU: [[199, 65536, 1400.5], "an integer from 200 to 65535"],
  },
  udp: { Port: [[0, 65536, 82.5], "an integer from 1 to 65535"] },
  vxlan: {
    VNI: [[-1, 16777216, 0.5], "an integer from 0 to 16777215"],
    Port: [[-1, 65536, 0.5], "an integer from 0 to 65535"],
    MTU: [[199, 65536, 1400.5], "an integer from 200 to 65535"],
  },
  wireguard: {
    ListenPort: [[0, 65536, 0.5], "an integer from 1 to 65535"],
    ListenPortV6: [[0, 65536, 0.5], "an integer from 1 to 65535"],
    MTU: [[199, 65536, 1400.5], "an integer from 200 to 65535"],
    Mode: [["seperate", ""], 'one of "separate", "auto", "ipv4", "ipv6"'],
    PersistentKeepaliveInterval: [[-1, 65536, 2.5], "an integer from 0 to 65535"],
  },
};

/** For the files of a backend. */
const directory = mkdtempSync(join(tmpdir(), "bad-options-test-"));
afterAll(() => rmSync(directory, { recursive: true, force: true }));

test("the manual has a table of options for each backend that has any", () => {
  const without = BACKENDS.types.filter((type) => optionsInManual(type).length === 0);
  expect(without).toEqual(["alloc", "host-gw"]);
});

describe.each(BACKENDS.types)("%s", (type) => {
  const documented = optionsInManual(type);

  test.each(documented)("rejects a %s of another type in one line", async (name) => {
    for (const value of [{ wrong: 1 }, ["wrong"]]) {
      const { error } = await prepare(type, { [name]: value });
      const given = SECRETS.has(name)
        ? "has an invalid value, which is secret and not shown"
        : `is ${JSON.stringify(value)}`;
      expect(error).toBeInstanceOf(ConfigError);
      expect(error?.message).toStartWith(`${name} in ${WHERE} ${given}; it must be `);
      expect(error?.message).not.toContain("\n");
      if (SECRETS.has(name)) expect(error?.message).not.toContain("wrong");
    }
  });

  test.each(documented)("asks whether a misspelt %s was meant", async (name) => {
    const { logged } = await prepare(type, { [`${name}x`]: 1 });
    expect(logged).toContain(
      `warning: unknown key "${name}x" in ${WHERE} is ignored; did you mean "${name}"?`,
    );
  });

  test("warns of an option that is similar to none, and ignores it", async () => {
    const { logged } = await prepare(type, { "completely unknown": 1 });
    expect(logged).toContain(
      `warning: unknown key "completely unknown" in ${WHERE} is ignored`,
    );
  });

  for (const [name, [values, allowed]] of Object.entries(OUT_OF_RANGE[type] ?? {})) {
    test.each(values)(`refuses the ${name} %p, and says what is allowed`, async (value) => {
      const { error } = await prepare(type, { [name]: value });
      expect(error).toBeInstanceOf(ConfigError);
      expect(error?.message).toBe(
        `${name} in ${WHERE} is ${JSON.stringify(value)}; it must be ${allowed}`,
      );
    });
  }
});

/** What `prepare` throws and logs. */
async function prepare(
  type: string,
  options: Readonly<Record<string, unknown>>,
): Promise<{ error: Error | undefined; logged: readonly string[] }> {
  const kernel = new FakeKernel();
  kernel.seed(...HOST);
  const network = config(type, [4], options);
  const host = backendHost(kernel, network, {
    runDirectory: directory,
    env: { WIREGUARD_KEY_FILE: join(directory, "wgkey") },
  });
  const { prepare } = await BACKENDS.forNetwork(network).load();
  try {
    await prepare(host);
    return { error: undefined, logged: host.logged };
  } catch (error) {
    return { error: error as Error, logged: host.logged };
  }
}

/** The names in the first table of the page's section "Options". */
function optionsInManual(type: string): string[] {
  const { pathname } = new URL(`../../../docs/backends/${type}.md`, import.meta.url);
  const page = readFileSync(pathname, "utf8");
  const [, section = ""] = page.split("\n## Options\n");
  const table = section.split("\n## ")[0]?.match(/^\| option .*\n(\|.*\n)+/m)?.[0] ?? "";
  return [...table.matchAll(/^\| `(\w+)`/gm)].map(([, name]) => name as string);
}
