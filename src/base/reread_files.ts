/** Values that are read from files which may be replaced at any time. */

import { statSync } from "node:fs";

export interface RereadFilesOptions<T> {
  readonly paths: readonly string[];
  readonly read: () => T;
  readonly outcome?: RereadOutcome | undefined;
}

/** Notified at each call that returns a value: whether it is what the files contain now. */
export interface RereadOutcome {
  failed(error: unknown): void;
  succeeded(): void;
}

/** What `read` returns, computed again when one of the files was replaced or rewritten. */
export class RereadFiles<T> {
  readonly #options: RereadFilesOptions<T>;
  #held: { readonly stamp: string; readonly value: T } | undefined;

  constructor(options: RereadFilesOptions<T>) {
    this.#options = options;
  }

  /**
   * The value as of now; the same object as long as no file has changed. While it cannot be read,
   * as it happens for a moment when files are rotated, the previous value stays; throws what `read`
   * throws, or the system's error, when there is none.
   */
  current(): T {
    const { paths, read, outcome } = this.#options;
    try {
      // The stamp before the content: a change in between is noticed the next time.
      const stamp = paths.map(fileStamp).join(" ");
      if (this.#held?.stamp !== stamp) this.#held = { stamp, value: read() };
      outcome?.succeeded();
    } catch (error) {
      if (this.#held === undefined) throw error;
      outcome?.failed(error);
    }
    return this.#held.value;
  }
}

/** Changes when the file is rewritten, and when a new file takes its name. */
function fileStamp(path: string): string {
  const { ino, size, mtimeMs, ctimeMs } = statSync(path);
  return `${ino}/${size}/${mtimeMs}/${ctimeMs}`;
}
