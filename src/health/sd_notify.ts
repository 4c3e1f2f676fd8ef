/** Notifications to systemd about this service (sd_notify(3)), if it has set NOTIFY_SOCKET. */

import { sendUnixDatagram } from "../../ffi/unix_datagram.ts";
import { type Clock, repeat } from "../base/clock.ts";
import { errorMessage } from "../base/operator_error.ts";
import type { Log } from "../log/log.ts";
import { printableLine } from "../base/quoting.ts";

export interface Notifier {
  /** Whether systemd wants notifications; otherwise nothing is sent. */
  readonly isActive: boolean;
  /** READY=1 with a status line. */
  ready(status: string): void;
  /** One line for `systemctl status`. */
  status(text: string): void;
  /** STOPPING=1. */
  stopping(): void;
  /**
   * If systemd has set a watchdog: sends WATCHDOG=1 at half of its period as long as `isAlive`
   * returns true, until disposed.
   */
  watchdog(isAlive: () => boolean): Disposable;
}

export interface NotifierOptions {
  readonly log: Log;
  readonly clock: Clock;
  readonly env?: Readonly<Record<string, string | undefined>>;
  readonly pid?: number;
  /** Sends one datagram and returns the errno, 0 for success; by default by sendto(2). */
  readonly send?: (socket: string, data: Uint8Array) => number;
}

/** The notifier for the environment that systemd gave this process. */
export function createNotifier(options: NotifierOptions): Notifier {
  const { clock, env = process.env, pid = process.pid } = options;
  const socket = env["NOTIFY_SOCKET"] ?? "";
  if (socket === "") return INACTIVE;
  const outbox = new Outbox(socket, options);
  return {
    isActive: true,
    ready: (status) => outbox.send(`READY=1\n${statusLine(status)}`),
    status: (text) => outbox.send(statusLine(text)),
    stopping: () => outbox.send(`STOPPING=1\n${statusLine("stopping")}`),
    watchdog: (isAlive) => {
      const periodMs = watchdogPeriodMs(env, pid);
      if (periodMs === undefined) return NOTHING;
      const beat = () => {
        if (isAlive()) outbox.send("WATCHDOG=1");
      };
      beat();
      return repeat(clock, periodMs, beat);
    },
  };
}

const NOTHING: Disposable = { [Symbol.dispose]: () => undefined };

const INACTIVE: Notifier = {
  isActive: false,
  ready: () => undefined,
  status: () => undefined,
  stopping: () => undefined,
  watchdog: () => NOTHING,
};

/**
 * Sends messages in order. systemd empties a full socket within moments, and READY=1 may not get
 * lost in it: a message that does not fit is sent again, and those after it wait.
 */
class Outbox {
  readonly #socket: string;
  readonly #options: NotifierOptions;
  readonly #waiting: string[] = [];
  #attempts = 0;
  #hasFailed = false;

  constructor(socket: string, options: NotifierOptions) {
    this.#socket = socket;
    this.#options = options;
  }

  send(message: string): void {
    this.#waiting.push(message);
    if (this.#waiting.length === 1) this.#flush();
  }

  #flush(): void {
    for (let message; (message = this.#waiting[0]) !== undefined;) {
      const problem = this.#trySend(message);
      if (problem === "full" && ++this.#attempts < MAX_ATTEMPTS) {
        this.#options.clock.setTimer(RETRY_MS, () => this.#flush());
        return;
      }
      this.#attempts = 0;
      this.#waiting.shift();
      if (problem !== undefined) this.#report(problem);
    }
  }

  /** Why it was not sent, if it was not. */
  #trySend(message: string): "full" | string | undefined {
    const { send = sendUnixDatagram } = this.#options;
    try {
      const errno = send(this.#socket, new TextEncoder().encode(message));
      return errno === 0 ? undefined : errno === EAGAIN ? "full" : `errno ${errno}`;
    } catch (error) {
      return errorMessage(error);
    }
  }

  /** Once: systemd does not open the socket of a running service again. */
  #report(problem: string): void {
    if (this.#hasFailed) return;
    this.#hasFailed = true;
    const reason = problem === "full" ? "its queue stays full" : problem;
    this.#options.log.warn(
      `cannot notify systemd at NOTIFY_SOCKET=${this.#socket}: ${reason}`,
    );
  }
}

const EAGAIN = 11; // asm-generic/errno-base.h
const RETRY_MS = 5;
const MAX_ATTEMPTS = 20;

/**
 * Half of WATCHDOG_USEC in milliseconds; `undefined` if no watchdog is set or it is meant for
 * another process (sd_watchdog_enabled(3)).
 */
export function watchdogPeriodMs(
  env: Readonly<Record<string, string | undefined>>,
  pid: number,
): number | undefined {
  const [usec, watched] = [env["WATCHDOG_USEC"] ?? "", env["WATCHDOG_PID"] ?? ""];
  if (!/^[1-9]\d*$/.test(usec) || watched !== "" && watched !== String(pid)) return undefined;
  const periodMs = Math.max(1, Math.floor(Number(usec) / 2000));
  return periodMs <= MAX_TIMER_MS ? periodMs : undefined;
}

/** A longer timer would fire at once; a watchdog of more than 49 days counts as none. */
const MAX_TIMER_MS = 2 ** 31 - 1;

/** Characters of the status line, which `systemctl status` shows. */
const MAX_STATUS = 1000;

function statusLine(text: string): string {
  return `STATUS=${printableLine(text.replace(/\s+/g, " "), MAX_STATUS)}`;
}
