/**
 * What systemd is told about this service (sd_notify(3)). Without NOTIFY_SOCKET nothing is sent.
 */

import { sendUnixDatagram } from "../../ffi/unix_datagram.ts";
import type { Log } from "../log/log.ts";
import { printableLine } from "../base/quoting.ts";

export interface Notifier {
  /** Whether anybody is told. */
  readonly isActive: boolean;
  /** READY=1 with a status line. Later calls change the status only. */
  ready(status: string): void;
  /** One line for `systemctl status`. */
  status(text: string): void;
  /** STOPPING=1. */
  stopping(): void;
  /**
   * Where systemd wants signs of life: sends WATCHDOG=1 at half of WATCHDOG_USEC as long as
   * `isAlive` says so, until disposed.
   */
  watchdog(isAlive: () => boolean): Disposable;
}

export interface NotifierOptions {
  readonly log: Log;
  readonly env?: Readonly<Record<string, string | undefined>>;
  readonly pid?: number;
}

/** Makes the notifier for the environment that systemd gave this process. */
export function createNotifier(options: NotifierOptions): Notifier {
  const { log, env = process.env, pid = process.pid } = options;
  const socket = env["NOTIFY_SOCKET"] ?? "";
  let hasFailed = false;
  const send = (...assignments: string[]): void => {
    if (socket === "") return;
    const problem = trySend(socket, assignments.join("\n"));
    // Said once: systemd does not come back for a service whose socket has gone.
    if (problem !== undefined && !hasFailed) {
      log.warn(`cannot notify systemd at NOTIFY_SOCKET=${socket}: ${problem}`);
      hasFailed = true;
    }
  };
  return {
    isActive: socket !== "",
    ready: (status) => send("READY=1", statusLine(status)),
    status: (text) => send(statusLine(text)),
    stopping: () => send("STOPPING=1", statusLine("stopping")),
    watchdog: (isAlive) => {
      const periodMs = watchdogPeriodMs(env, pid);
      if (socket === "" || periodMs === undefined) return { [Symbol.dispose]: () => undefined };
      const beat = (): void => {
        if (isAlive()) send("WATCHDOG=1");
      };
      beat();
      const timer = setInterval(beat, periodMs);
      return { [Symbol.dispose]: () => clearInterval(timer) };
    },
  };
}

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

/** Longer timers fire at once; a watchdog of more than 49 days is none. */
const MAX_TIMER_MS = 2 ** 31 - 1;

const EAGAIN = 11; // asm-generic/errno-base.h

function trySend(socket: string, message: string): string | undefined {
  try {
    const data = new TextEncoder().encode(message);
    let errno = sendUnixDatagram(socket, data);
    // A full queue is emptied within moments; READY=1 must not get lost in it.
    for (let tries = 0; errno === EAGAIN && tries < 20; tries++) {
      Bun.sleepSync(5);
      errno = sendUnixDatagram(socket, data);
    }
    return errno === 0 ? undefined : `errno ${errno}`;
  } catch (error) {
    return (error as Error).message;
  }
}

/** Characters of the status line, which `systemctl status` shows. */
const MAX_STATUS = 1000;

function statusLine(text: string): string {
  return `STATUS=${printableLine(text.replace(/\s+/g, " "), MAX_STATUS)}`;
}
