/**
 * Texts in rows: their bytes are in one buffer instead of a string each.
 *
 * For tens of thousands of texts that are rarely read. JavaScriptCore does not move objects, so
 * each string that stays would keep a page resident that is otherwise garbage. A buffer is given
 * back as a whole.
 */

import { columnFor } from "./column.ts";

/** A buffer with fewer unused bytes is not replaced by a smaller one. */
const MIN_UNUSED = 4096;

export class TextRows {
  #bytes = Buffer.alloc(0);
  /** Bytes of the buffer up to here have been written. */
  #end = 0;
  /** How many of them belong to a row. */
  #used = 0;
  #starts = new Uint32Array();
  #lengths = new Uint32Array();
  /** Rows from here on have never been used, or are free again. */
  #rowsEnd = 0;
  /** Free rows before that. */
  #free: number[] = [];
  #size = 0;

  /** Number of texts. */
  get size(): number {
    return this.#size;
  }

  /** The rows that have a text. */
  rows(): number[] {
    const free = new Set(this.#free);
    return Array.from({ length: this.#rowsEnd }, (_, row) => row).filter((row) => !free.has(row));
  }

  /** Stores a text without lone surrogates. Returns its row: a new one, or one that was freed. */
  add(text: string): number {
    const row = this.#free.pop() ?? this.#rowsEnd++;
    this.#starts = columnFor(this.#starts, row);
    this.#lengths = columnFor(this.#lengths, row);
    this.#size++;
    this.#write(row, text);
    return row;
  }

  /** Replaces the text of a row. */
  replace(row: number, text: string): void {
    this.#used -= this.#lengths[row] as number;
    this.#lengths[row] = 0;
    this.#write(row, text);
  }

  at(row: number): string {
    const start = this.#starts[row] as number;
    return this.#bytes.toString("utf8", start, start + (this.#lengths[row] as number));
  }

  /** Whether this is the text of a row; makes no string if it is ASCII. */
  isAt(row: number, text: string): boolean {
    const [start, length] = [this.#starts[row] as number, this.#lengths[row] as number];
    for (let i = 0; i < text.length; i++) {
      const code = text.charCodeAt(i);
      if (code >= 0x80) return this.at(row) === text;
      if (i >= length || this.#bytes[start + i] !== code) return false;
    }
    return text.length === length;
  }

  /** Frees a row, which must have a text. */
  delete(row: number): void {
    this.#used -= this.#lengths[row] as number;
    this.#lengths[row] = 0;
    this.#size--;
    if (this.#size === 0) this.#reset();
    else this.#free.push(row);
    const unused = this.#bytes.length - this.#used;
    if (unused > MIN_UNUSED && unused > this.#used) this.#moveTo(1.25 * this.#used);
  }

  #write(row: number, text: string): void {
    const length = Buffer.byteLength(text);
    if (this.#end + length > this.#bytes.length) this.#moveTo(1.25 * (this.#used + length));
    this.#starts[row] = this.#end;
    this.#lengths[row] = length;
    this.#bytes.write(text, this.#end, length, "utf8");
    this.#end += length;
    this.#used += length;
  }

  /** Copies the texts to a buffer of this size, without the gaps. */
  #moveTo(size: number): void {
    const bytes = Buffer.alloc(Math.ceil(size));
    const hasGaps = this.#end > this.#used;
    if (!hasGaps) {
      bytes.set(this.#bytes.subarray(0, this.#end));
      this.#bytes = bytes;
      return;
    }
    let end = 0;
    for (let row = 0; row < this.#rowsEnd; row++) {
      const start = this.#starts[row] as number;
      const length = this.#lengths[row] as number;
      bytes.set(this.#bytes.subarray(start, start + length), end);
      this.#starts[row] = end;
      end += length;
    }
    this.#bytes = bytes;
    this.#end = end;
  }

  #reset(): void {
    this.#bytes = Buffer.alloc(0);
    this.#starts = new Uint32Array();
    this.#lengths = new Uint32Array();
    this.#free = [];
    this.#end = this.#rowsEnd = 0;
  }
}
