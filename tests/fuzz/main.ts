/**
 * `npm run test:fuzz [-- --count N --seed N --target NAME]`: a million inputs for each reader of
 * outside bytes or text. An input that fails is added to the corpus.
 */

import { parseArgs } from "node:util";
import { addToCorpus, fuzz } from "./fuzz.ts";
import { TARGETS } from "./targets.ts";

const { values } = parseArgs({
  options: {
    count: { type: "string", default: "1000000" },
    seed: { type: "string", default: String(Date.now() % 2 ** 31) },
    target: { type: "string", multiple: true, default: TARGETS.map(({ name }) => name) },
  },
});
const [count, seed] = [Number(values.count), Number(values.seed)];
const unknown = values.target.filter((name) => TARGETS.every((target) => target.name !== name));
if (!Number.isSafeInteger(count) || !Number.isSafeInteger(seed) || unknown.length > 0) {
  console.error(
    `--count and --seed are integers, and the targets are: ${
      TARGETS.map(({ name }) => name).join(" ")
    }`,
  );
  process.exit(2);
}
console.log(`seed ${seed}`);
let failures = 0;
for (const target of TARGETS.filter(({ name }) => values.target.includes(name))) {
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
