/** Asynchronous tasks, one at a time, in the order in which they were given. */

export class SerialQueue {
  #last: Promise<unknown> = Promise.resolve();

  /** Runs the task after all earlier ones, whether they succeeded or failed. The result is the task's own. */
  run<T>(task: () => T | Promise<T>): Promise<T> {
    const result = this.#last.then(task);
    this.#last = result.catch(() => undefined);
    return result;
  }

  /** Resolves when every task given so far has ended, however it ended. */
  async idle(): Promise<void> {
    await this.#last;
  }
}
