import { isDeepStrictEqual } from "node:util";

/** A reader returned something that it may not return. */
export class Mismatch extends Error {
  override readonly name = "Mismatch";
}

export function equal(actual: unknown, expected: unknown): void {
  if (isDeepStrictEqual(actual, expected)) return;
  throw new Mismatch(`${Bun.inspect(actual)} is not ${Bun.inspect(expected)}`);
}
