/** The real workers that are started while it lives. */
export class WorkerWatch implements Disposable {
  readonly started: Worker[] = [];
  readonly #original = globalThis.Worker;

  constructor() {
    const { started } = this;
    globalThis.Worker = class extends this.#original {
      constructor(...args: ConstructorParameters<typeof Worker>) {
        super(...args);
        started.push(this);
      }
    };
  }

  [Symbol.dispose](): void {
    globalThis.Worker = this.#original;
  }
}
