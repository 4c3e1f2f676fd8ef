/** A traffic manager in a network namespace, for the tests of the rules on a real kernel. */

import type { TrafficRules } from "../../src/traffic/rules.ts";
import type { Namespace } from "../support/network_namespace.ts";
import type { DriverAnswer, DriverCommand, DriverOptions } from "./traffic_driver.ts";

/** A traffic manager in a process of its own, inside a namespace. */
export class Driver implements AsyncDisposable {
  readonly #child: Bun.Subprocess<"pipe", "pipe", "pipe">;
  readonly #lines: AsyncIterator<string>;
  readonly #log: Promise<string>;
  first!: DriverAnswer;

  private constructor(child: Bun.Subprocess<"pipe", "pipe", "pipe">) {
    this.#child = child;
    this.#lines = lines(child.stdout);
    this.#log = new Response(child.stderr).text();
  }

  /** Starts a manager and, if rules are given, waits until they are in. */
  static async start(
    namespace: Namespace,
    options: Partial<DriverOptions> = {},
    rules?: TrafficRules,
    env: Record<string, string> = {},
  ): Promise<Driver> {
    const settings: DriverOptions = { mode: "iptables", resyncMs: 5000, ...options };
    const driver = new Driver(Bun.spawn([
      "ip",
      "netns",
      "exec",
      namespace.name,
      process.execPath,
      `${import.meta.dirname}/traffic_driver.ts`,
      JSON.stringify(settings),
    ], { stdin: "pipe", stdout: "pipe", stderr: "pipe", env: { ...process.env, ...env } }));
    driver.first = await driver.#answer();
    if (rules !== undefined) driver.first = await driver.set(rules);
    return driver;
  }

  set(rules: TrafficRules): Promise<DriverAnswer> {
    return this.#ask({ op: "set", rules });
  }

  stats(): Promise<DriverAnswer> {
    return this.#ask({ op: "stats" });
  }

  /** Stops it from running, as a busy machine would, or lets it go on. */
  signal(signal: "SIGSTOP" | "SIGCONT"): void {
    this.#child.kill(signal);
  }

  /** Ends the manager; resolves to what it logged. */
  async stop(): Promise<string> {
    if (this.#child.exitCode === null) this.#write({ op: "stop" });
    await this.#child.exited;
    return await this.#log;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop();
  }

  async #ask(command: DriverCommand): Promise<DriverAnswer> {
    this.#write(command);
    return await this.#answer();
  }

  #write(command: DriverCommand): void {
    this.#child.stdin.write(`${JSON.stringify(command)}\n`);
    this.#child.stdin.flush();
  }

  async #answer(): Promise<DriverAnswer> {
    const { value, done } = await this.#lines.next();
    if (done) throw new Error(`the traffic manager ended: ${await this.#log}`);
    return JSON.parse(value) as DriverAnswer;
  }
}

/** Runs a program to its end; resolves to its standard output. Throws when it fails. */
async function* lines(stream: ReadableStream<Uint8Array>): AsyncGenerator<string> {
  let rest = "";
  const decoder = new TextDecoder();
  for await (const chunk of stream) {
    const parts = (rest + decoder.decode(chunk, { stream: true })).split("\n");
    rest = parts.pop() ?? "";
    yield* parts;
  }
}
