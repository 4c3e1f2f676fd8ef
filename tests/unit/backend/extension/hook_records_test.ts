import { describe, expect, test } from "bun:test";
import { mkdirSync, readdirSync, writeFileSync } from "node:fs";
import fc from "fast-check";
import { hookVariables, peerInput } from "../../../../src/backend/extension/hook_input.ts";
import {
  bootIdentity,
  HookRecords,
  type PeerRecord,
  type SetupRecord,
} from "../../../../src/backend/extension/hook_records.ts";
import type { LeaseKey } from "../../../../src/subnet/lease.ts";
import { networks, peer, Sandbox } from "./support.ts";

const SETUP: SetupRecord = {
  generation: "g",
  isComplete: false,
  mark: "mark-1",
  commands: ["pre", "post"],
  variables: hookVariables({ networks, subnets: {}, publicAddresses: {} }),
  output: "printed\n",
};

function record(key: string, isCertain = true): PeerRecord {
  const input = peerInput(peer(2, "data"), networks);
  return { key: key as LeaseKey, generation: "g", isCertain, mark: `${key}?`, command: "c", input };
}

async function open(directory: string, boot = "b"): Promise<HookRecords & { warned: string[] }> {
  const warned: string[] = [];
  const warn = (message: string) => void warned.push(message);
  return Object.assign(await HookRecords.open({ directory, boot, warn }), { warned });
}

describe("records", () => {
  test("are read back as they were written, in the same boot only", async () => {
    using sandbox = new Sandbox();
    const keys = ["10.5.2.0-24&fc00:0:0:2::-64", "../../etc/passwd", "."];
    const first = await open(sandbox.state);
    expect([first.setup, first.peers]).toEqual([undefined, []]);
    await first.writeSetup(SETUP);
    for (const key of keys) await first.writePeer(record(key, key === "."));
    const second = await open(sandbox.state);
    expect(second.setup).toEqual(SETUP);
    expect(second.peers.map(({ key }) => key as string).sort()).toEqual([...keys].sort());
    expect([...second.unfinished].sort()).toEqual(
      ["mark-1", `${keys[0]}?`, `${keys[1]}?`].sort(),
    );
    expect(readdirSync(sandbox.directory)).toEqual(["state"]);
    await second.deletePeer(keys[0] as LeaseKey);
    expect((await open(sandbox.state)).peers).toHaveLength(2);
    const later = await open(sandbox.state, "c");
    expect([later.setup, later.peers, later.warned]).toEqual([undefined, [], []]);
    expect(readdirSync(`${sandbox.state}/peers`)).toEqual([]);
  });

  test("of one peer under the name of another are ignored", async () => {
    using sandbox = new Sandbox();
    mkdirSync(`${sandbox.state}/peers`, { recursive: true });
    const text = JSON.stringify({ boot: "b", ...record("x") });
    writeFileSync(`${sandbox.state}/peers/y.json`, text);
    const { peers, warned } = await open(sandbox.state);
    expect(peers).toEqual([]);
    expect(warned).toEqual([expect.stringMatching(/^ignoring .*y\.json: it is the record of x$/)]);
  });

  test("opening never fails, with any content of the files", async () => {
    using sandbox = new Sandbox();
    mkdirSync(`${sandbox.state}/peers`, { recursive: true });
    const damaged = (whole: object) =>
      fc.oneof(
        fc.string({ unit: "binary" }),
        fc.json(),
        fc.tuple(fc.constantFrom(...Object.keys(whole)), fc.jsonValue()).map(([name, value]) =>
          JSON.stringify({ boot: "b", ...whole, [name]: value })
        ),
        fc.nat({ max: 300 }).map((end) => JSON.stringify({ boot: "b", ...whole }).slice(0, end)),
      );
    await fc.assert(
      fc.asyncProperty(damaged(SETUP), damaged(record("x")), async (setup, one) => {
        writeFileSync(`${sandbox.state}/setup.json`, setup);
        writeFileSync(`${sandbox.state}/peers/x.json`, one);
        const { peers } = await open(sandbox.state);
        for (const { input } of peers) expect(typeof input.stdin).toBe("string");
      }),
      { numRuns: 5000 },
    );
  }, 60_000);
});

test("a boot is identified by its id and the network namespace", () => {
  expect(bootIdentity()).toMatch(/^[0-9a-f-]{36} net:\[\d+\]$/);
  expect(bootIdentity()).toBe(bootIdentity());
});
