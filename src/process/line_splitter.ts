/** Text that arrives in pieces, as lines. */

/** Calls back for each line; `dispose` passes on a last line without a newline. */
export class LineSplitter implements Disposable {
  readonly #decoder = new TextDecoder();
  readonly #onLine: (line: string) => void;
  #rest = "";

  constructor(onLine: (line: string) => void) {
    this.#onLine = onLine;
  }

  push(bytes: Uint8Array): void {
    const lines = (this.#rest + this.#decoder.decode(bytes, { stream: true })).split("\n");
    this.#rest = lines.pop() as string;
    for (const line of lines) this.#onLine(line);
  }

  [Symbol.dispose](): void {
    const rest = this.#rest + this.#decoder.decode();
    if (rest !== "") this.#onLine(rest);
  }
}
