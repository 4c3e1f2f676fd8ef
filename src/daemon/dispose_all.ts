/** Ends several parts at once. */

/**
 * Begins to dispose every part, in order, before it waits for any: a part that ends slowly does
 * not keep the others running. Throws the first error after all have ended.
 */
export async function disposeAll(
  parts: readonly (Disposable | AsyncDisposable | undefined)[],
): Promise<void> {
  const ends = parts.map((part) =>
    Promise.try(() => {
      if (part === undefined) return;
      return Symbol.asyncDispose in part ? part[Symbol.asyncDispose]() : part[Symbol.dispose]();
    })
  );
  const failed = (await Promise.allSettled(ends)).find(({ status }) => status === "rejected");
  if (failed?.status === "rejected") throw failed.reason;
}
