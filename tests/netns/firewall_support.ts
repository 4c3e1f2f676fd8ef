/** A firewall manager in a network namespace, for the tests of the rules on a real kernel. */

import type { FirewallRules } from "../../src/firewall/firewall.ts";
import type { Namespace } from "../support/network_namespace.ts";
import { eventually } from "../support/wait.ts";
import type { DriverAnswer, DriverCommand, DriverOptions } from "./firewall_driver.ts";

/** A firewall manager in a process of its own, inside a namespace. */
export class Driver implements AsyncDisposable {
  readonly #child: Bun.Subprocess<"pipe", "pipe", "pipe">;
  readonly #lines: AsyncIterator<string>;
  #log = "";
  readonly #logged: Promise<void>;
  first!: DriverAnswer;

  private constructor(child: Bun.Subprocess<"pipe", "pipe", "pipe">) {
    this.#child = child;
    this.#lines = lines(child.stdout);
    this.#logged = this.#read(child.stderr);
  }

  /** Starts a manager and, if rules are given, waits until they are installed. */
  static async start(
    namespace: Namespace,
    options: Partial<DriverOptions> = {},
    rules?: FirewallRules,
    env: Record<string, string> = {},
  ): Promise<Driver> {
    // With this period, rules are repaired only because a change was announced.
    const settings: DriverOptions = { mode: "iptables", resyncMs: 3_600_000, ...options };
    const driver = new Driver(Bun.spawn([
      "ip",
      "netns",
      "exec",
      namespace.name,
      process.execPath,
      `${import.meta.dirname}/firewall_driver.ts`,
      JSON.stringify(settings),
    ], { stdin: "pipe", stdout: "pipe", stderr: "pipe", env: { ...process.env, ...env } }));
    driver.first = await driver.#answer();
    if (rules !== undefined) driver.first = await driver.set(rules);
    return driver;
  }

  set(rules: FirewallRules): Promise<DriverAnswer> {
    return this.#ask({ op: "set", rules });
  }

  stats(): Promise<DriverAnswer> {
    return this.#ask({ op: "stats" });
  }

  /** Suspends it, as a busy machine would, or resumes it. */
  signal(signal: "SIGSTOP" | "SIGCONT"): void {
    this.#child.kill(signal);
  }

  /** The manager's log so far. */
  log(): string {
    return this.#log;
  }

  /**
   * Waits until it has started no program for a while: its own changes are complete. The delay
   * before a check is nine times the duration of the last one.
   */
  async quiet(): Promise<void> {
    let before = (await this.stats()).processStarts;
    await eventually("it has become idle", 60_000, async () => {
      await Bun.sleep(4_000);
      const now = (await this.stats()).processStarts;
      return now === before || (before = now, false);
    });
  }

  /** Ends the manager. Resolves with its log. */
  async stop(): Promise<string> {
    await this.#child.stdin.end(); // it may have ended: nothing is written
    await this.#child.exited;
    await this.#logged;
    return this.#log;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop();
  }

  async #ask(command: DriverCommand): Promise<DriverAnswer> {
    this.#child.stdin.write(`${JSON.stringify(command)}\n`);
    this.#child.stdin.flush();
    return await this.#answer();
  }

  async #answer(): Promise<DriverAnswer> {
    const { value, done } = await this.#lines.next();
    if (done) {
      await this.#logged;
      throw new Error(`the firewall manager ended: ${this.#log}`);
    }
    return JSON.parse(value) as DriverAnswer;
  }

  async #read(stream: ReadableStream<Uint8Array>): Promise<void> {
    const decoder = new TextDecoder();
    for await (const chunk of stream) this.#log += decoder.decode(chunk, { stream: true });
  }
}

/** The lines of a stream, as they come. */
async function* lines(stream: ReadableStream<Uint8Array>): AsyncGenerator<string> {
  let rest = "";
  const decoder = new TextDecoder();
  for await (const chunk of stream) {
    const parts = (rest + decoder.decode(chunk, { stream: true })).split("\n");
    rest = parts.pop() ?? "";
    yield* parts;
  }
}
