/** Replaces the program of this process (execve(2)). */

import { ptr } from "bun:ffi";
import { errno, libc } from "./libc.ts";
import * as k from "./linux.ts";
import { cString } from "./memory.ts";

export interface Execution {
  /** The bytes of each, as `latin1` text; of a variable, with its name. */
  readonly args: readonly string[];
  readonly variables: readonly string[];
  /** Descriptors that stay open although they are close-on-exec. */
  readonly descriptors: readonly number[];
}

/** Returns only if it fails, with errno(3). */
export function execute(path: string, { args, variables, descriptors }: Execution): number {
  const [name, argv, envp] = [cString(path), stringList(args), stringList(variables)];
  const { fcntl, execve } = libc();
  for (const descriptor of descriptors) fcntl(descriptor, k.F_SETFD, 0);
  execve(name, argv.list, envp.list);
  const error = errno();
  for (const descriptor of descriptors) fcntl(descriptor, k.F_SETFD, k.FD_CLOEXEC);
  return error;
}

/** Pointers to the texts, and a null pointer; `texts` keeps what they refer to. */
function stringList(values: readonly string[]): { list: BigUint64Array; texts: Buffer[] } {
  const texts = values.map((value) => Buffer.from(`${value}\0`, "latin1"));
  const list = BigUint64Array.from([...texts.map((text) => BigInt(ptr(text))), 0n]);
  return { list, texts };
}
