/** New inputs from old ones, as an attacker or a damaged disk would change them. */

import type { Random } from "./random.ts";

export interface MutateOptions {
  readonly corpus: readonly Uint8Array[];
  /** Words of the format. */
  readonly dictionary: readonly Uint8Array[];
  readonly isJson: boolean;
  readonly maxBytes: number;
}

/** One input of the corpus, changed in one to eight places; sometimes unrelated to them. */
export function mutate(random: Random, options: MutateOptions): Uint8Array {
  const { corpus, maxBytes } = options;
  if (corpus.length === 0 || random.once(50)) return noise(random, random.below(300));
  let input = random.pick(corpus);
  if (options.isJson && !random.once(3)) {
    const changed = mutateJsonText(random, input);
    if (changed !== undefined) input = changed;
    // Most of the time it stays JSON.
    if (!random.once(4)) return input.subarray(0, maxBytes);
  }
  for (let count = 1 + random.below(random.pick([2, 4, 8])); count > 0; count--) {
    input = random.pick(MUTATIONS)(input, random, options);
  }
  return input.subarray(0, maxBytes);
}

type Mutation = (input: Uint8Array, random: Random, options: MutateOptions) => Uint8Array;

const MUTATIONS: readonly Mutation[] = [
  (input, random) =>
    changed(input, random, (copy, at) => copy[at] = copy[at] as number ^ 1 << random.below(8)),
  (input, random) => changed(input, random, (copy, at) => copy[at] = random.below(256)),
  (input, random) => changed(input, random, (copy, at) => copy[at] = random.pick(BOUNDARY_BYTES)),
  // A field of two, four or eight bytes, in either order, at a boundary or near what is left.
  (input, random) =>
    changed(input, random, (copy, at) => {
      const field = new DataView(new ArrayBuffer(8));
      const size = random.pick([2, 4, 8]);
      const isLittle = random.once(2);
      const value = random.once(3)
        ? BigInt(input.length - at + random.below(9) - 4)
        : random.pick(BOUNDARIES);
      if (size === 2) field.setUint16(0, Number(value & 0xffffn), isLittle);
      else if (size === 4) field.setUint32(0, Number(value & 0xffffffffn), isLittle);
      else field.setBigUint64(0, BigInt.asUintN(64, value), isLittle);
      copy.set(new Uint8Array(field.buffer, 0, Math.min(size, copy.length - at)), at);
    }),
  (input, random) => spliced(input, random, noise(random, 1 + random.below(8))),
  (input, random, { dictionary }) => spliced(input, random, word(random, dictionary)),
  (input, random, { dictionary }) => {
    const [start, end] = range(input, random);
    return join(input.subarray(0, start), word(random, dictionary), input.subarray(end));
  },
  // A part is cut out, or the rest of it.
  (input, random) => {
    const [start, end] = range(input, random);
    return join(input.subarray(0, start), input.subarray(end));
  },
  (input, random) => input.subarray(0, random.below(input.length + 1)),
  // A part comes again, at times very often.
  (input, random, { maxBytes }) => {
    const [start, end] = range(input, random);
    const part = input.subarray(start, end);
    const times = random.once(20) ? Math.floor(maxBytes / (part.length + 1)) : 1 + random.below(4);
    return join(
      input.subarray(0, end),
      ...new Array<Uint8Array>(times).fill(part),
      input.subarray(end),
    );
  },
  // The head of one, and the tail of another.
  (input, random, { corpus }) => {
    const other = random.pick(corpus);
    return join(
      input.subarray(0, random.below(input.length + 1)),
      other.subarray(random.below(other.length + 1)),
    );
  },
  (input, random) => {
    const text = decoder.decode(input);
    const numbers = [...text.matchAll(/\d+/g)];
    if (numbers.length === 0) return input;
    const { index, 0: digits } = random.pick(numbers);
    return encoder.encode(
      text.slice(0, index) + random.pick(NUMBERS) + text.slice(index + digits.length),
    );
  },
  (input, random, { maxBytes }) => {
    const [open, close] = random.pick(NESTS);
    const depth = 1 + random.below(random.once(10) ? maxBytes : 200);
    return spliced(
      input,
      random,
      encoder.encode(open.repeat(depth) + close.repeat(random.once(2) ? depth : 0)),
    );
  },
];

const encoder = new TextEncoder();
const decoder = new TextDecoder();

const BOUNDARY_BYTES = [0, 1, 2, 0x0a, 0x20, 0x22, 0x2f, 0x7f, 0x80, 0xc0, 0xfe, 0xff];
const BOUNDARIES = [
  0n,
  1n,
  2n,
  3n,
  4n,
  7n,
  8n,
  15n,
  16n,
  0x7fn,
  0x80n,
  0xffn,
  0x100n,
  0x7fffn,
  0x8000n,
  0xffffn,
  0x10000n,
  0x7fffffffn,
  0x80000000n,
  0xffffffffn,
  (1n << 63n) - 1n,
  1n << 63n,
  (1n << 64n) - 1n,
];
const NUMBERS = [
  "0",
  "00",
  "-1",
  "1",
  "9".repeat(15),
  "2147483648",
  "4294967296",
  "9007199254740993",
  "9223372036854775807",
  "9223372036854775808",
  "18446744073709551616",
  "1e999",
  "0.1",
  "9".repeat(400),
  "0x10",
  "",
];
const NESTS = [["[", "]"], ['{"a":', "}"], ["(", ")"], ["{", "}"], ['"', '"'], [
  "\\u005b",
  "",
]] as const;

function changed(
  input: Uint8Array,
  random: Random,
  change: (copy: Uint8Array, at: number) => void,
): Uint8Array {
  if (input.length === 0) return noise(random, 1);
  const copy = input.slice();
  change(copy, random.below(copy.length));
  return copy;
}

function spliced(input: Uint8Array, random: Random, part: Uint8Array): Uint8Array {
  const at = random.below(input.length + 1);
  return join(input.subarray(0, at), part, input.subarray(at));
}

/** Short ones mostly. */
function range(input: Uint8Array, random: Random): [number, number] {
  const start = random.below(input.length + 1);
  const longest = random.once(3) ? input.length : 16;
  return [start, Math.min(input.length, start + random.below(longest + 1))];
}

function word(random: Random, dictionary: readonly Uint8Array[]): Uint8Array {
  return dictionary.length === 0 ? noise(random, 2) : random.pick(dictionary);
}

function noise(random: Random, length: number): Uint8Array {
  return Uint8Array.from({ length }, () => random.below(256));
}

function join(...parts: readonly Uint8Array[]): Uint8Array {
  return Buffer.concat(parts);
}

/** `undefined` if it is not JSON, or too deep. */
function mutateJsonText(random: Random, input: Uint8Array): Uint8Array | undefined {
  try {
    const value: unknown = JSON.parse(decoder.decode(input));
    return encoder.encode(JSON.stringify(mutateJson(random, value)));
  } catch {
    return undefined;
  }
}

/** Replaces, removes or renames one value somewhere in the tree. */
function mutateJson(random: Random, value: unknown): unknown {
  if (typeof value !== "object" || value === null || random.once(8)) {
    return random.pick(VALUES)(value);
  }
  if (Array.isArray(value)) {
    const copy = [...value as unknown[]];
    if (copy.length === 0 || random.once(6)) {
      return [...copy, ...copy, random.pick(VALUES)(copy[0])];
    }
    const at = random.below(copy.length);
    copy[at] = mutateJson(random, copy[at]);
    return copy;
  }
  const entries = Object.entries(value);
  if (entries.length === 0) return Object.fromEntries([["a", random.pick(VALUES)(1)]]);
  const at = random.below(entries.length);
  const [name, item] = entries[at] as [string, unknown];
  switch (random.below(8)) {
    case 0:
      entries.splice(at, 1);
      break;
    case 1:
      entries.push([
        random.pick([
          name.toUpperCase(),
          name.toLowerCase(),
          "__proto__",
          "constructor",
          "toString",
        ]),
        item,
      ]);
      break;
    default:
      entries[at] = [name, mutateJson(random, item)];
  }
  return Object.fromEntries(entries);
}

/** Replacements of a value. */
const VALUES: readonly ((value: unknown) => unknown)[] = [
  () => null,
  () => true,
  () => [],
  () => ({}),
  () => "",
  () => 0,
  () => -1,
  () => 1.5,
  () => 65536,
  () => 4294967296,
  () => 2 ** 53,
  () => 1e300,
  () => "x".repeat(5000),
  () => "\u0000\u2028\u202e\r\n\u001b[31m",
  () => "\ud800",
  () => ({ __proto__: null, toString: 1, length: -1 }),
  (value) => [value],
  (value) => ({ a: value, A: value }),
  (value) => String(value),
  (value) => `${String(value)} `,
  (value) => typeof value === "string" ? value.toUpperCase() : value,
  (value) => typeof value === "string" ? Number(value) : value,
];
