/** The lines of a watch: bytes that arrive in pieces, one JSON value in each line. */

export class WatchLineTooLong extends Error {}

/** Splits bytes at newlines; holds one incomplete line of at most `maxLineBytes`. */
export class WatchLines {
  readonly #maxLineBytes: number;
  #pieces: Uint8Array[] = [];
  #bytes = 0;

  constructor({ maxLineBytes }: { readonly maxLineBytes: number }) {
    this.#maxLineBytes = maxLineBytes;
  }

  /** Whether the last line that was begun has no end yet. */
  get isInLine(): boolean {
    return this.#bytes > 0;
  }

  /** The lines that end in this piece. Throws `WatchLineTooLong`. */
  *push(piece: Uint8Array): Iterable<string> {
    let start = 0;
    for (;;) {
      const end = piece.indexOf(NEWLINE, start);
      if (end < 0) break;
      yield this.#line(piece.subarray(start, end));
      start = end + 1;
    }
    if (start < piece.length) this.#keep(piece.subarray(start));
  }

  #line(last: Uint8Array): string {
    // Mostly the whole line is in one piece.
    if (this.#bytes === 0) return DECODER.decode(this.#checked(last));
    this.#keep(last);
    const line = Buffer.concat(this.#pieces, this.#bytes);
    this.#pieces = [];
    this.#bytes = 0;
    return DECODER.decode(line);
  }

  #keep(piece: Uint8Array): void {
    this.#pieces.push(this.#checked(piece));
    this.#bytes += piece.length;
  }

  #checked(piece: Uint8Array): Uint8Array {
    if (this.#bytes + piece.length <= this.#maxLineBytes) return piece;
    throw new WatchLineTooLong(`a line has more than ${this.#maxLineBytes} bytes`);
  }
}

const NEWLINE = 0x0a;
const DECODER = new TextDecoder();
