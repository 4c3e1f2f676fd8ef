/** Checks that the kernel has ESP (RFC 4303): without it, no tunnel comes up. */

import type { Family } from "../../addr/ip.ts";
import type { Log } from "../../log/log.ts";
import type { XfrmStates } from "../../kernel/xfrm/xfrm_states.ts";
import type { Clock } from "../../base/clock.ts";

export interface EspCheckOptions {
  readonly family: Family;
  readonly states: Pick<XfrmStates, "lacksEsp">;
  readonly clock: Clock;
  readonly log: Log;
}

export class EspCheck {
  readonly #options: EspCheckOptions;
  #isMissing: boolean;
  #checkMs = 0;

  /** Queries the kernel, and logs a warning if ESP is missing. */
  constructor(options: EspCheckOptions) {
    this.#options = options;
    this.#isMissing = this.#query();
    if (this.#isMissing) options.log.warn(withoutEsp(options.family));
  }

  /**
   * The message that ESP is missing, with the module to load; `undefined` once the kernel has it.
   */
  problem(): string | undefined {
    const { family, clock, log } = this.#options;
    if (this.#isMissing && clock.nowMs() >= this.#checkMs) {
      this.#isMissing = this.#query();
      if (!this.#isMissing) log.info(`this kernel has ESP for IPv${family} now`);
    }
    return this.#isMissing ? withoutEsp(family) : undefined;
  }

  #query(): boolean {
    const { family, states, clock } = this.#options;
    this.#checkMs = clock.nowMs() + CHECK_MS;
    return states.lacksEsp(family);
  }
}

/** Not more often, because each query makes the kernel try to load the module. */
const CHECK_MS = 5000;

function withoutEsp(family: Family): string {
  return `this kernel has no ESP for IPv${family}, packets to other nodes are dropped: load its ` +
    `module with "modprobe -a xfrm_user esp${family}" (some distributions have it in a package ` +
    "of extra modules, such as linux-modules-extra)";
}
