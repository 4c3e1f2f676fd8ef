/** Each reader of outside bytes or text, on its corpus and on malformed inputs. */

import { describe, expect, test } from "bun:test";
import { readdirSync } from "node:fs";
import { CORPUS, fuzz } from "../../fuzz/fuzz.ts";
import { mutate } from "../../fuzz/mutate.ts";
import { Random } from "../../fuzz/random.ts";
import { TARGETS } from "../../fuzz/targets.ts";

/** The same inputs at each run; `npm run test:fuzz` takes others, and a hundred times as many. */
const SEED = Number(process.env["FLANNELD_FUZZ_SEED"] ?? 1);
const COUNT = 10_000;

test.each(TARGETS.map((target) => [target.name, target] as const))(
  `%s refuses what it cannot read as it says, or reads it (seed ${SEED})`,
  async (name, target) => {
    const failure = await fuzz(target, { count: COUNT, seed: SEED });
    if (failure === undefined) return;
    const input = Buffer.from(failure.input);
    throw new Error(
      `${failure.error.stack}\nof the input ${
        JSON.stringify(input.toString("latin1").slice(0, 500))
      }` +
        `; npm run test:fuzz -- --target ${name} --count ${COUNT} --seed ${SEED} adds it to ` +
        "the corpus",
    );
  },
  300_000,
);

test("every folder of the corpus has its target", () => {
  const names = TARGETS.map(({ name }) => name);
  expect(readdirSync(CORPUS).filter((name) => !names.includes(name))).toEqual([]);
});

describe("fuzz()", () => {
  const target = { name: "none", seeds: ["[1,2]"], isJson: true, refusals: [SyntaxError] };

  test("reports an input that throws another error", async () => {
    const run = (input: Uint8Array) => {
      if (Array.isArray(JSON.parse(Buffer.from(input).toString()))) throw new RangeError("fault");
    };
    const failure = await fuzz({ ...target, run }, { count: 0, seed: 1 });
    expect([failure?.error.message, Buffer.from(failure?.input ?? []).toString()]).toEqual([
      "fault",
      "[1,2]",
    ]);
  });

  test("makes the same inputs from one seed, and others from another", async () => {
    const inputs = async (seed: number) => {
      const seen: string[] = [];
      const run = (input: Uint8Array) => void seen.push(Buffer.from(input).toString("latin1"));
      await fuzz({ ...target, run }, { count: 500, seed });
      return seen;
    };
    expect(await inputs(1)).toEqual(await inputs(1));
    expect(await inputs(1)).not.toEqual(await inputs(2));
    expect(new Set(await inputs(1)).size).toBeGreaterThan(300);
  });

  test("keeps inputs within their length", () => {
    const random = new Random(1);
    const options = { corpus: [new Uint8Array(50)], dictionary: [], isJson: false, maxBytes: 64 };
    for (let i = 0; i < 2000; i++) {
      expect(mutate(random, options).length).toBeLessThanOrEqual(300);
    }
  });
});
