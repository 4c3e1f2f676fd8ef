/**
 * JSON with the place of each value, for messages that name a line and a column. It accepts what
 * `JSON.parse` accepts (RFC 8259), whose errors do not name a place.
 */

import { quoted } from "../base/quoting.ts";

/** Both count from 1; columns count UTF-16 code units. */
export interface TextPosition {
  readonly line: number;
  readonly column: number;
}

/** A value, and where it begins. Members of objects inside arrays are not kept. */
export interface PositionedValue {
  readonly offset: number;
  readonly value: unknown;
  /** Those of an object, in order, including those that a later one with the same name replaces. */
  readonly members: readonly PositionedMember[];
}

export interface PositionedMember {
  readonly name: string;
  /** Where its name begins. */
  readonly offset: number;
  readonly value: PositionedValue;
}

export interface JsonSyntaxProblem {
  /** Such as `expected a comma or }, found "x"`. */
  readonly problem: string;
  readonly offset: number;
}

/** Deeper than any document that a daemon accepts. */
const MAX_DEPTH = 100;

export function parsePositionedJson(text: string): PositionedValue | JsonSyntaxProblem {
  const reader = new Reader(text);
  try {
    const value = reader.value(0);
    reader.end();
    return value;
  } catch (error) {
    if (!(error instanceof SyntaxProblem)) throw error;
    return { problem: error.message, offset: error.offset };
  }
}

export function positionAt(text: string, offset: number): TextPosition {
  const before = text.slice(0, offset);
  return {
    line: before.split("\n").length,
    column: before.length - before.lastIndexOf("\n"),
  };
}

class SyntaxProblem extends Error {
  readonly offset: number;

  constructor(message: string, offset: number) {
    super(message);
    this.offset = offset;
  }
}

const SPACE = /[ \t\n\r]*/y;
// deno-lint-ignore no-control-regex
const STRING = /"(?:[^"\\\x00-\x1f]|\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4}))*"/y;
const NUMBER = /-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?/y;
const WORD = /(?:true|false|null)(?![A-Za-z0-9_])/y;

class Reader {
  readonly #text: string;
  #offset = 0;

  constructor(text: string) {
    this.#text = text;
  }

  value(depth: number): PositionedValue {
    this.#skipSpace();
    const offset = this.#offset;
    if (depth > MAX_DEPTH) throw new SyntaxProblem("values are nested too deeply", offset);
    if (this.#take("{")) return this.#object(offset, depth);
    if (this.#take("[")) return this.#array(offset, depth);
    const token = this.#match(STRING) ?? this.#match(NUMBER) ?? this.#match(WORD);
    if (token === undefined) throw this.#unexpected("a value");
    return { offset, value: JSON.parse(token), members: [] };
  }

  end(): void {
    this.#skipSpace();
    if (this.#offset < this.#text.length) throw this.#unexpected("the end");
  }

  #object(offset: number, depth: number): PositionedValue {
    const members: PositionedMember[] = [];
    const value: Record<string, unknown> = {};
    this.#skipSpace();
    if (this.#take("}")) return { offset, value, members };
    do {
      this.#skipSpace();
      const offset = this.#offset;
      const token = this.#match(STRING);
      if (token === undefined) throw this.#unexpected("a name in double quotes");
      const name = JSON.parse(token) as string;
      this.#skipSpace();
      if (!this.#take(":")) throw this.#unexpected("a colon");
      const member = { name, offset, value: this.value(depth + 1) };
      members.push(member);
      // As JSON.parse does, also for __proto__.
      Object.defineProperty(value, name, {
        value: member.value.value,
        writable: true,
        enumerable: true,
        configurable: true,
      });
      this.#skipSpace();
    } while (this.#take(","));
    if (!this.#take("}")) throw this.#unexpected("a comma or }");
    return { offset, value, members };
  }

  #array(offset: number, depth: number): PositionedValue {
    const value: unknown[] = [];
    this.#skipSpace();
    if (this.#take("]")) return { offset, value, members: [] };
    do {
      value.push(this.value(depth + 1).value);
      this.#skipSpace();
    } while (this.#take(","));
    if (!this.#take("]")) throw this.#unexpected("a comma or ]");
    return { offset, value, members: [] };
  }

  #skipSpace(): void {
    this.#match(SPACE);
  }

  #take(character: string): boolean {
    if (this.#text[this.#offset] !== character) return false;
    this.#offset++;
    return true;
  }

  #match(pattern: RegExp): string | undefined {
    pattern.lastIndex = this.#offset;
    const found = pattern.exec(this.#text)?.[0];
    if (found !== undefined) this.#offset += found.length;
    return found;
  }

  #unexpected(expected: string): SyntaxProblem {
    const rest = this.#text.slice(this.#offset);
    // The string may be a secret.
    const found = rest === ""
      ? "the end of the text"
      : rest.startsWith('"')
      ? "a string"
      : quoted(String.fromCodePoint(rest.codePointAt(0) as number));
    return new SyntaxProblem(`expected ${expected}, found ${found}`, this.#offset);
  }
}
