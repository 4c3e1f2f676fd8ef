/** Logs the state of the disk: when it is full, when it has room again, and damaged keys. */

import { statfsSync } from "node:fs";
import { dirname } from "node:path";
import type { Log } from "../../log/log.ts";
import type { Clock } from "../../base/clock.ts";
import { errorMessage } from "../../base/operator_error.ts";
import type { StorageEvents } from "./storage_connection.ts";

/** The disk counts as full until no write has failed for this time: small writes may succeed. */
const CALM_MS = 2_000;
/** Interval of the log lines about a full disk. */
const REPEAT_MS = 60_000;
/** Limit for the damaged keys that are logged, each once. */
const MAX_NAMED_KEYS = 1_000;

export interface StorageReportOptions {
  /** The database. */
  readonly file: string;
  readonly clock: Clock;
  readonly log: Log;
}

export class StorageReport implements StorageEvents, Disposable {
  readonly #options: StorageReportOptions;
  readonly #damaged = new Set<string>();
  #rejected = 0;
  #loggedMs = -Infinity;
  #calm: Disposable | undefined;

  constructor(options: StorageReportOptions) {
    this.#options = options;
  }

  [Symbol.dispose](): void {
    this.#calm?.[Symbol.dispose]();
  }

  full(): void {
    const { file, clock, log } = this.#options;
    this.#calm?.[Symbol.dispose]();
    this.#calm = undefined;
    this.#rejected++;
    if (clock.nowMs() - this.#loggedMs < REPEAT_MS) return;
    this.#loggedMs = clock.nowMs();
    const soFar = this.#rejected > 1 ? `; ${this.#rejected} writes rejected so far` : "";
    log.error(
      `cannot write ${file}: the disk is full (${spaceText(file)}); rejecting writes until there ` +
        `is room, still serving reads${soFar}`,
    );
  }

  written(): void {
    if (this.#rejected === 0 || this.#calm !== undefined) return;
    const { clock } = this.#options;
    this.#calm = clock.setTimer(CALM_MS, () => this.#recovered());
  }

  damaged(place: string): void {
    this.#reportDamage(
      `${place} in ${this.#options.file} is damaged: the checksum does not match; check the ` +
        "disk, and write the key again or delete it",
    );
  }

  restored(place: string): void {
    this.#reportDamage(
      `${place} in ${this.#options.file} was damaged; restored it from the second copy; ` +
        "check the disk",
    );
  }

  reindexed(): void {
    this.#reportDamage(
      `an index in ${this.#options.file} was damaged; rebuilt it from its table; check the disk`,
    );
  }

  #reportDamage(message: string): void {
    if (this.#damaged.has(message) || this.#damaged.size >= MAX_NAMED_KEYS) return;
    this.#damaged.add(message);
    this.#options.log.error(message);
  }

  #recovered(): void {
    const { file, log } = this.#options;
    log.info(
      `writing ${file} again (${
        spaceText(file)
      }); rejected ${this.#rejected} writes while the disk ` +
        "was full",
    );
    this.#calm = undefined;
    this.#rejected = 0;
    this.#loggedMs = -Infinity;
  }
}

function spaceText(file: string): string {
  try {
    const { bavail, bsize, blocks } = statfsSync(dirname(file));
    return `${mebibytes(bavail * bsize)} of ${mebibytes(blocks * bsize)} MiB free`;
  } catch (error) {
    return `free space unknown: ${errorMessage(error)}`;
  }
}

function mebibytes(bytes: number): string {
  return (bytes / (1 << 20)).toFixed(1);
}
