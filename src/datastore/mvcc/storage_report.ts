/** Logs what concerns the disk: when it is full, when there is room again, and what is damaged. */

import { statfsSync } from "node:fs";
import { dirname } from "node:path";
import type { Log } from "../../log/log.ts";
import type { Clock } from "../../base/clock.ts";
import type { StorageEvents } from "./storage_connection.ts";

/**
 * The disk counts as full until no write has failed for this time: small ones may still succeed.
 */
const CALM_MS = 2_000;
/** Between two lines about one full disk. */
const REPEAT_MS = 60_000;
/** Each is logged once. */
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
  #refused = 0;
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
    this.#refused++;
    if (clock.nowMs() - this.#loggedMs < REPEAT_MS) return;
    this.#loggedMs = clock.nowMs();
    const sofar = this.#refused > 1 ? `; ${this.#refused} writes have been refused so far` : "";
    log.error(
      `cannot write ${file}: the disk is full, ${
        spaceText(file)
      }; writes are refused until there is ` +
        `room, reads are served${sofar}`,
    );
  }

  written(): void {
    if (this.#refused === 0 || this.#calm !== undefined) return;
    const { clock } = this.#options;
    this.#calm = clock.setTimer(CALM_MS, () => this.#recovered());
  }

  damaged(place: string): void {
    this.#reportDamage(
      `${place} in ${this.#options.file} is damaged: its checksum does not match; check the disk, ` +
        "and write the key again or delete it",
    );
  }

  restored(place: string): void {
    this.#reportDamage(
      `${place} in ${this.#options.file} was damaged, and was restored from its second copy; ` +
        "check the disk",
    );
  }

  reindexed(): void {
    this.#reportDamage(
      `an index in ${this.#options.file} was damaged, and was made again from its table; ` +
        "check the disk",
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
      `writes to ${file} succeed again, ${spaceText(file)}; ${this.#refused} were refused while ` +
        "the disk was full",
    );
    this.#calm = undefined;
    this.#refused = 0;
    this.#loggedMs = -Infinity;
  }
}

function spaceText(file: string): string {
  try {
    const { bavail, bsize, blocks } = statfsSync(dirname(file));
    return `${mebibytes(bavail * bsize)} of ${mebibytes(blocks * bsize)} MiB are free`;
  } catch (error) {
    return `its free space is unknown (${(error as Error).message})`;
  }
}

function mebibytes(bytes: number): string {
  return (bytes / (1 << 20)).toFixed(1);
}
