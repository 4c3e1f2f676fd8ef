/** `flanneld status`: what the daemons of this host report about themselves. See docs/api.md. */

import { type Clock, sleep } from "../base/clock.ts";
import { OperatorError } from "../base/operator_error.ts";
import { printableLine } from "../base/quoting.ts";
import { LEAVE_SCREEN, screenFrame, type TerminalSize } from "../control/screen.ts";
import { readStatus, socketsIn, StatusCallError } from "../control/status_client.ts";
import type { StatusDocument } from "../control/status_document.ts";
import { STATUS_DIRECTORY, statusSocketPath } from "../control/status_path.ts";
import { statusText } from "../control/status_text.ts";
import { COLOURED, PLAIN } from "../control/terminal_text.ts";
import type { OptionsOf } from "./flag.ts";
import type { STATUS_FLAGS } from "./status_flags.ts";

export type StatusOptions = OptionsOf<typeof STATUS_FLAGS>;

export interface StatusOutput {
  out(text: string): Promise<void>;
  err(text: string): void;
  /** The size of the terminal that `out` is now; `undefined` if it is none. */
  terminal(): TerminalSize | undefined;
  readonly environment: Readonly<Record<string, string | undefined>>;
  readonly clock: Clock;
}

const READY = 0;
const NOT_READY = 1;
const NO_DAEMON = 3;
const WATCH_MS = 1000;

/** Runs the subcommand and returns the exit status. */
export async function statusCommand(
  options: StatusOptions,
  output: StatusOutput,
): Promise<number> {
  try {
    return await (options.watch ? watch(options, output) : show(options, output));
  } catch (error) {
    if (!(error instanceof OperatorError)) throw error;
    output.err(`flanneld status: ${printableLine(error.message)}\n`);
    return NOT_READY;
  }
}

async function show(options: StatusOptions, output: StatusOutput): Promise<number> {
  const answers = await readAll(options);
  for (const message of messagesOf(answers, options)) output.err(`flanneld status: ${message}\n`);
  const { documents } = answers;
  if (options.json) await output.out(`${JSON.stringify(documents, null, 2)}\n`);
  else if (documents.length > 0) await output.out(textOf(documents, output));
  return statusOf(answers);
}

/** Until a signal. */
async function watch(options: StatusOptions, output: StatusOutput): Promise<number> {
  const stop = new AbortController();
  const onSignal = () => stop.abort();
  for (const name of SIGNALS) process.on(name, onSignal);
  let which: "first" | "next" = "first";
  try {
    while (!stop.signal.aborted) {
      await output.out(await watchedText(options, output, which));
      which = "next";
      await sleep(output.clock, WATCH_MS, stop.signal);
    }
    return 0;
  } finally {
    if (which === "next" && usesScreen(options, output)) await output.out(LEAVE_SCREEN);
    for (const name of SIGNALS) process.off(name, onSignal);
  }
}

const SIGNALS = ["SIGINT", "SIGTERM", "SIGHUP"] as const;

function usesScreen({ json }: StatusOptions, output: StatusOutput): boolean {
  return !json && output.terminal() !== undefined;
}

/** On a terminal what redraws it, elsewhere the text or a line of JSON. */
async function watchedText(
  options: StatusOptions,
  output: StatusOutput,
  which: "first" | "next",
): Promise<string> {
  const answers = await readAll(options);
  if (options.json) return `${JSON.stringify(answers.documents)}\n`;
  const messages = messagesOf(answers, options).map((message) => `${message}\n`).join("");
  const text = `${textOf(answers.documents, output)}${messages}`;
  const terminal = output.terminal();
  return terminal === undefined ? `${text}\n` : screenFrame(text, terminal, which);
}

function textOf(documents: readonly StatusDocument[], output: StatusOutput): string {
  const terminal = output.terminal();
  const { NO_COLOR = "", TERM = "" } = output.environment;
  const isColoured = terminal !== undefined && NO_COLOR === "" && TERM !== "dumb";
  // Programs that read lines want whole ones.
  const width = terminal?.columns ?? Infinity;
  const paint = isColoured ? COLOURED : PLAIN;
  return documents.map((document) => statusText(document, { width, paint })).join("\n");
}

interface Answers {
  readonly documents: readonly StatusDocument[];
  /** Daemons that run, but have not answered. */
  readonly failures: readonly string[];
}

function statusOf({ documents, failures }: Answers): number {
  if (documents.length === 0 && failures.length === 0) return NO_DAEMON;
  return failures.length === 0 && documents.every(({ ready }) => ready) ? READY : NOT_READY;
}

function messagesOf(answers: Answers, { subnetFile }: StatusOptions): string[] {
  if (statusOf(answers) !== NO_DAEMON) return answers.failures.map((text) => printableLine(text));
  const where = subnetFile === "" ? `in ${STATUS_DIRECTORY}` : `with --subnet-file=${subnetFile}`;
  return [`no flanneld runs ${printableLine(where)}; start it, or name its --subnet-file`];
}

/** Throws `StatusCallError`. */
async function readAll({ subnetFile }: StatusOptions): Promise<Answers> {
  const sockets = subnetFile === "" ? socketsIn(STATUS_DIRECTORY) : [statusSocketPath(subnetFile)];
  const results = await Promise.allSettled(sockets.map(readStatus));
  const documents = results.flatMap((one) => one.status === "fulfilled" ? [one.value] : []);
  const failures = results.flatMap((one) => {
    if (one.status === "fulfilled") return [];
    if (!(one.reason instanceof StatusCallError)) throw one.reason;
    return one.reason.isAbsent ? [] : [one.reason.message];
  });
  return { documents, failures };
}
