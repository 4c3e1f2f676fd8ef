import type { Clock } from "./clock.ts";

/** Something that another program had changed, and that flanneld has restored or removed. */
export interface Repair {
  /** Milliseconds since 1970. */
  readonly atMs: number;
  readonly action: "restored" | "removed";
  /** A kernel entry in the notation of `ip` and `bridge`, or the rules. */
  readonly entry: string;
}

interface Recorded extends Omit<Repair, "entry"> {
  readonly entry: () => string;
}

const MAX_REPAIRS = 20;

/** The last 20 repairs. Thousands may happen at once, so an entry becomes text only when shown. */
export class RepairHistory {
  readonly #clock: Pick<Clock, "wallMs">;
  readonly #last: Recorded[] = [];

  constructor(clock: Pick<Clock, "wallMs">) {
    this.#clock = clock;
  }

  add(action: Repair["action"], entry: () => string): void {
    if (this.#last.length === MAX_REPAIRS) this.#last.shift();
    this.#last.push({ atMs: this.#clock.wallMs(), action, entry });
  }

  /** The newest first. */
  list(): Repair[] {
    return this.#last.map((one) => ({ ...one, entry: one.entry() })).reverse();
  }
}
