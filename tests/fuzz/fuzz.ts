/**
 * Fuzzing: each reader of outside bytes or text gets malformed inputs, and may refuse
 * them by the error that it documents, but do nothing else.
 */

import { createHash } from "node:crypto";
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { mutate } from "./mutate.ts";
import { Random } from "./random.ts";

export interface FuzzTarget {
  /** Its corpus is in the folder of that name. */
  readonly name: string;
  readonly isJson?: boolean;
  /** Valid inputs, besides those in the corpus. */
  readonly seeds?: readonly (string | Uint8Array)[];
  readonly dictionary?: readonly string[];
  /** By default 4096. */
  readonly maxBytes?: number;
  /** Reads the input, and checks the result. Throws only the errors of `refusals`. */
  run(input: Uint8Array): void | Promise<void>;
  /** The errors that the reader documents. */
  readonly refusals?: readonly (abstract new (...args: never[]) => Error)[];
}

export interface Failure {
  readonly input: Uint8Array;
  readonly error: Error;
}

export interface FuzzOptions {
  readonly count: number;
  readonly seed: number;
}

export const CORPUS = new URL("corpus", import.meta.url).pathname;

/** An input of a few kilobytes that takes this long is a failure. */
const MAX_INPUT_MS = 10_000;

/** The corpus first, then this many new inputs; ends at the first failure. */
export async function fuzz(
  target: FuzzTarget,
  { count, seed }: FuzzOptions,
): Promise<Failure | undefined> {
  const corpus = readCorpus(target);
  for (const input of corpus) {
    const failure = await attempt(target, input);
    if (failure !== undefined) return failure;
  }
  const encoder = new TextEncoder();
  const maxBytes = target.maxBytes ?? 4096;
  const options = {
    // A large seed is used as it is: its beginning alone would be of little use.
    corpus: corpus.filter(({ length }) => length <= maxBytes),
    dictionary: (target.dictionary ?? []).map((word) => encoder.encode(word)),
    isJson: target.isJson ?? false,
    maxBytes,
  };
  const random = new Random(seed);
  for (let i = 0; i < count; i++) {
    const failure = await attempt(target, mutate(random, options));
    if (failure !== undefined) return failure;
  }
  return undefined;
}

/** The fault that the input triggers. */
export async function attempt(target: FuzzTarget, input: Uint8Array): Promise<Failure | undefined> {
  const startedMs = performance.now();
  try {
    const running = target.run(input);
    if (running !== undefined) await running;
  } catch (error) {
    const isRefusal = target.refusals?.some((type) => error instanceof type) ?? false;
    if (!isRefusal) return { input, error: error as Error };
  }
  const tookMs = performance.now() - startedMs;
  if (tookMs < MAX_INPUT_MS) return undefined;
  return { input, error: new Error(`it took ${Math.round(tookMs)} ms`) };
}

export function readCorpus({ name, seeds = [] }: FuzzTarget): Uint8Array[] {
  const encoder = new TextEncoder();
  const folder = join(CORPUS, name);
  const files = readdirSync(CORPUS).includes(name) ? readdirSync(folder).sort() : [];
  return [
    ...seeds.map((seed) => typeof seed === "string" ? encoder.encode(seed) : seed),
    ...files.map((file) => new Uint8Array(readFileSync(join(folder, file)))),
  ];
}

/** Writes an input into the corpus; returns its path. */
export function addToCorpus({ name }: FuzzTarget, input: Uint8Array): string {
  const folder = join(CORPUS, name);
  mkdirSync(folder, { recursive: true });
  const hash = createHash("sha256").update(input).digest("hex").slice(0, 16);
  const path = join(folder, hash);
  writeFileSync(path, input);
  return path;
}
