/** `flanneld status`: what the daemons of this host report about themselves. See docs/api.md. */

import { type Clock, sleep } from "../base/clock.ts";
import { OperatorError } from "../base/operator_error.ts";
import { printableLine } from "../base/quoting.ts";
import { LEAVE_SCREEN, screenFrame, type TerminalSize } from "../control/screen.ts";
import { readStatus } from "../control/status_client.ts";
import type { StatusDocument } from "../control/status_document.ts";
import { statusText } from "../control/status_text.ts";
import { COLOURED, PLAIN } from "../control/terminal_text.ts";
import { absenceText, askDaemons, type DaemonAnswers, NO_DAEMON } from "./ask_daemons.ts";
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
  const found = await readAll(options);
  for (const message of messagesOf(found, options)) output.err(`flanneld status: ${message}\n`);
  const { answers: documents } = found;
  if (options.json) await output.out(`${JSON.stringify(documents, null, 2)}\n`);
  else if (documents.length > 0) await output.out(textOf(documents, output));
  return statusOf(found);
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
  const found = await readAll(options);
  if (options.json) return `${JSON.stringify(found.answers)}\n`;
  const messages = messagesOf(found, options).map((message) => `${message}\n`).join("");
  const text = `${textOf(found.answers, output)}${messages}`;
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

type Answers = DaemonAnswers<StatusDocument>;

function statusOf({ answers, failures }: Answers): number {
  if (answers.length === 0 && failures.length === 0) return NO_DAEMON;
  return failures.length === 0 && answers.every(({ ready }) => ready) ? READY : NOT_READY;
}

function messagesOf(found: Answers, { subnetFile }: StatusOptions): string[] {
  if (statusOf(found) === NO_DAEMON) return [absenceText(subnetFile)];
  return found.failures.map((text) => printableLine(text));
}

/** Throws `StatusCallError`. */
function readAll({ subnetFile }: StatusOptions): Promise<Answers> {
  return askDaemons(subnetFile, readStatus);
}
