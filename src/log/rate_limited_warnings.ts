/**
 * Rate limit for warnings that thousands of similar objects, such as leases, may cause at once.
 *
 * It groups warnings by their text and uses a timer, so the latest warning of a group is always
 * logged. `RepeatedFailure` is for one operation that fails until it works again, `RecurringEvent`
 * for one event that has no end.
 */

import { printableName } from "../base/quoting.ts";
import type { Clock } from "../base/clock.ts";
import type { Log } from "./log.ts";

export interface RateLimitedWarningsOptions {
  readonly log: Log;
  readonly clock: Pick<Clock, "nowMs" | "setTimer">;
}

/** A warning such as `ignoring lease 10.5.7.0-24: its subnet …`. */
export interface Warning {
  /** The same for all objects of a kind, such as `ignoring lease`. */
  readonly what: string;
  /** The object's name. */
  readonly name: string;
  /** Values from outside are quoted in it by `quoted`. */
  readonly reason: string;
  /** Present if this is a bug of this program: the line is an error with the stack. */
  readonly fault?: Error;
}

/** A warning as it is logged, with the text that all of its kind have in common. */
interface Line {
  readonly kind: string;
  readonly text: string;
  readonly fault?: Error | undefined;
}

/**
 * Warnings of one kind differ only in names, numbers and addresses. The first five are logged at
 * once; then the latest one after a second, and at growing intervals of up to a minute, with the
 * number of warnings that were omitted. After a minute without warnings of a kind, it starts over.
 */
export class RateLimitedWarnings implements Disposable {
  readonly #options: RateLimitedWarningsOptions;
  readonly #kinds = new Map<string, Kind>();
  #isStopped = false;

  constructor(options: RateLimitedWarningsOptions) {
    this.#options = options;
  }

  warn({ what, name, reason, fault }: Warning): void {
    const text = `${what} ${printableName(name)}: ${reason}`;
    this.#add({ kind: `${what}: ${withoutValues(reason)}`, text, fault });
  }

  /** As `warn`, for a line of another form. */
  warnLine(text: string): void {
    this.#add({ kind: withoutValues(text), text });
  }

  /** Logs the pending warnings. */
  [Symbol.dispose](): void {
    this.#isStopped = true;
    for (const kind of this.#kinds.values()) {
      kind.timer?.[Symbol.dispose]();
      this.#flush(kind);
    }
  }

  #add(line: Line): void {
    const kind = this.#kindOf(line);
    const nowMs = this.#options.clock.nowMs();
    if (kind.timer === undefined && nowMs - kind.lastMs >= QUIET_MS) kind.loggedAtOnce = 0;
    kind.lastMs = nowMs;
    if (kind.loggedAtOnce < MAX_AT_ONCE) {
      kind.loggedAtOnce++;
      this.#log(line, { omitted: 0 });
      return;
    }
    kind.pending++;
    kind.latest = line;
    if (kind.timer === undefined) this.#startTimer(kind, FIRST_DELAY_MS);
  }

  #startTimer(kind: Kind, delayMs: number): void {
    if (this.#isStopped) return this.#flush(kind);
    kind.timer = this.#options.clock.setTimer(delayMs, () => {
      kind.timer = undefined;
      const hadAny = kind.pending > 0;
      this.#flush(kind);
      if (hadAny) this.#startTimer(kind, Math.min(delayMs * 2, QUIET_MS));
    });
  }

  #flush(kind: Kind): void {
    if (kind.latest !== undefined) this.#log(kind.latest, { omitted: kind.pending - 1 });
    kind.latest = undefined;
    kind.pending = 0;
  }

  #log({ text, fault }: Line, { omitted }: { omitted: number }): void {
    const { log } = this.#options;
    const whole = omitted === 0 ? text : `${text} (and ${omitted} more like it)`;
    if (fault === undefined) log.warn(whole);
    else log.error({ stack: fault.stack?.slice(0, MAX_STACK) }, whole);
  }

  /** If there are too many kinds, the others share one. */
  #kindOf({ kind: text }: Line): Kind {
    let kind = this.#kinds.get(text);
    if (kind !== undefined) return kind;
    if (this.#kinds.size >= MAX_KINDS) this.#forgetQuiet();
    const key = this.#kinds.size < MAX_KINDS ? text : OTHER;
    kind = this.#kinds.get(key);
    if (kind === undefined) {
      kind = { loggedAtOnce: 0, pending: 0, latest: undefined, lastMs: 0, timer: undefined };
      this.#kinds.set(key, kind);
    }
    return kind;
  }

  #forgetQuiet(): void {
    const nowMs = this.#options.clock.nowMs();
    for (const [key, { timer, lastMs }] of this.#kinds) {
      if (timer === undefined && nowMs - lastMs >= QUIET_MS) this.#kinds.delete(key);
    }
  }
}

interface Kind {
  /** Warnings that were logged immediately since the last quiet period. */
  loggedAtOnce: number;
  /** Warnings since the last line, and the latest of them. */
  pending: number;
  latest: Line | undefined;
  lastMs: number;
  timer: Disposable | undefined;
}

const MAX_AT_ONCE = 5;
const FIRST_DELAY_MS = 1000;
const QUIET_MS = 60_000;
const MAX_KINDS = 50;
const OTHER = "";
const MAX_STACK = 2000;

/**
 * A reason with `#` for each value: quoted text, JSON, and each word that contains a digit, an
 * inner colon or a slash.
 */
export function withoutValues(reason: string): string {
  return reason
    .replace(/"(?:[^"\\]|\\.)*"/g, "#")
    .replace(/[{[].*[\]}…]/g, "#")
    .replace(/[^\s,;()]*(?:\d|:(?=[^\s])|\/)[^\s,;()]*/g, "#");
}
