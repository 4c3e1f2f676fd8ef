/**
 * `npm run test:fuzz [-- --count N --seed N --target NAME]`: a million inputs for each reader of
 * outside bytes or text. An input that fails is added to the corpus.
 */

import { parseArgs } from "node:util";
import { addToCorpus, fuzz } from "./fuzz.ts";
import { TARGETS } from "./targets.ts";

const { count, seed, targets } = readArguments();
console.log(`seed ${seed}`);
let failures = 0;
for (const target of TARGETS.filter(({ name }) => targets.includes(name))) {
  const startedMs = performance.now();
  const failure = await fuzz(target, { count, seed });
  const seconds = (performance.now() - startedMs) / 1000;
  if (failure === undefined) {
    const speed = Math.round(count / seconds);
    console.log(`ok     ${target.name}: ${count} inputs in ${seconds.toFixed(1)} s, ${speed}/s`);
  } else {
    failures++;
    console.log(`FAILED ${target.name}: ${addToCorpus(target, failure.input)}`);
    console.log(failure.error.stack ?? failure.error.message);
  }
}
process.exit(failures === 0 ? 0 : 1);

/** Ends the program with one line if the options are invalid. */
function readArguments(): { count: number; seed: number; targets: readonly string[] } {
  try {
    const { values } = parseArgs({
      options: {
        count: { type: "string", default: "1000000" },
        seed: { type: "string", default: String(Date.now() % 2 ** 31) },
        target: { type: "string", multiple: true, default: TARGETS.map(({ name }) => name) },
      },
    });
    const unknown = values.target.find((name) => TARGETS.every((target) => target.name !== name));
    if (unknown !== undefined) {
      const known = TARGETS.map(({ name }) => name).join(" ");
      throw new TypeError(`unknown target "${unknown}"; the targets are ${known}`);
    }
    return {
      count: integer("--count", values.count, 1),
      seed: integer("--seed", values.seed, 0),
      targets: values.target,
    };
  } catch (error) {
    console.error((error as Error).message);
    process.exit(2);
  }
}

function integer(flag: string, text: string, least: number): number {
  const value = Number(text);
  if (text.trim() !== "" && Number.isSafeInteger(value) && value >= least) return value;
  throw new TypeError(`${flag} ${text} is not an integer of at least ${least}`);
}
