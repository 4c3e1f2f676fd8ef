/**
 * Runs asynchronous tasks one at a time, in order, for an owner of state that several events
 * change.
 */

export class SerialQueue {
  #last: Promise<unknown> = Promise.resolve();

  /** Runs the task after all earlier ones, even if they fail. Settles as the task does. */
  run<T>(task: () => T | Promise<T>): Promise<T> {
    const result = this.#last.then(task);
    this.#last = result.catch(() => undefined);
    return result;
  }

  /** Resolves when all tasks so far have ended, with or without an error. */
  async idle(): Promise<void> {
    await this.#last;
  }
}
