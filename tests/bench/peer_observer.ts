/**
 * When the WireGuard device of a host has a number of peers. The kernel does not announce peers,
 * so they are polled, in a process of its own in the host's namespace.
 */

import { systemClock } from "../../src/base/clock.ts";
import { NetlinkKernel } from "../../src/kernel/netlink_kernel.ts";

const DEVICE = "flannel-wg";
/** Reading takes at most this share of the time, for the daemon may need the processor. */
const SHARE = 0.3;
const MIN_PAUSE_MS = 2;
const TIMEOUT_MS = 120_000;

export class PeerObserver implements AsyncDisposable {
  readonly #child: Bun.Subprocess<"pipe", "pipe", "inherit">;
  readonly #answers: AsyncIterator<string>;

  constructor(namespace: string) {
    const script = `const { answerCounts } = await import(${JSON.stringify(import.meta.path)});` +
      "await answerCounts();";
    this.#child = Bun.spawn(
      ["ip", "netns", "exec", namespace, process.execPath, "-e", script],
      { stdin: "pipe", stdout: "pipe", stderr: "inherit" },
    );
    this.#answers = linesOf(this.#child.stdout)[Symbol.asyncIterator]();
  }

  /** When there were `count` peers, in milliseconds since the epoch; throws if they do not come. */
  async atLeast(count: number): Promise<number> {
    this.#child.stdin.write(`${count}\n`);
    this.#child.stdin.flush();
    const answer = await this.#answers.next();
    const timeMs = Number(answer.value);
    if (answer.done || !(timeMs > 0)) throw new Error(`there are no ${count} peers`);
    return timeMs;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#child.kill("SIGKILL");
    await this.#child.exited;
  }
}

/** The observer's side: for each number on standard input, the time of that many peers. */
export async function answerCounts(): Promise<void> {
  using kernel = new NetlinkKernel({ clock: systemClock });
  for await (const line of linesOf(Bun.stdin.stream())) {
    console.log(await timeOf(kernel, Number(line)));
  }
}

async function timeOf(kernel: NetlinkKernel, count: number): Promise<number> {
  const deadline = performance.now() + TIMEOUT_MS;
  while (performance.now() < deadline) {
    const startMs = performance.now();
    const { length } = await kernel.dump(["wireguard-peer"], new Set([DEVICE]));
    const endMs = performance.now();
    if (length >= count) return performance.timeOrigin + endMs;
    await Bun.sleep(Math.max(MIN_PAUSE_MS, (endMs - startMs) / SHARE));
  }
  return 0;
}

async function* linesOf(stream: ReadableStream<Uint8Array>): AsyncGenerator<string> {
  const decoder = new TextDecoder();
  let rest = "";
  for await (const chunk of stream) {
    const lines = (rest + decoder.decode(chunk, { stream: true })).split("\n");
    rest = lines.pop() ?? "";
    yield* lines;
  }
}
