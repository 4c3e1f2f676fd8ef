/** Waits for a valid network configuration, however long that takes. */

import { type Clock, sleep } from "../base/clock.ts";
import { ConfigError } from "../config/config_error.ts";
import { type NetworkConfig, parseNetworkConfig } from "../config/network_config.ts";
import type { Log } from "../log/log.ts";
import { RepeatedFailure } from "../log/repeated_failure.ts";
import { type LeaseStore, StoreError } from "../subnet/lease_store.ts";
import type { Readiness } from "./readiness.ts";

export interface WaitForConfigOptions {
  readonly store: Pick<LeaseStore, "description" | "networkConfig">;
  /** Where the configuration is, for messages: a key or a path. */
  readonly source: string;
  readonly readiness: Readiness;
  readonly clock: Clock;
  readonly log: Log;
}

const RETRY_MS = 1000;

/** Reads it once a second. An invalid text is reported once. Rejects when `stop` aborts. */
export async function waitForConfig(
  { store, source, readiness, clock, log }: WaitForConfigOptions,
  stop: AbortSignal,
): Promise<NetworkConfig> {
  const what = "reading the network configuration";
  const reading = new RepeatedFailure({ log, what, clock });
  let invalid: string | undefined;
  let isAbsenceLogged = false;
  for (;; await sleep(clock, RETRY_MS, stop)) {
    stop.throwIfAborted();
    let text: string | undefined;
    try {
      text = await store.networkConfig(stop);
      reading.succeeded();
      if (text !== undefined && text !== invalid) {
        return parseNetworkConfig(text, { source, warn: (message) => log.warn(message) });
      }
      if (text === undefined) {
        const step = `waiting for a network configuration at ${source}`;
        if (!isAbsenceLogged) log.info(step);
        isAbsenceLogged = true;
        readiness.step(step);
      }
    } catch (error) {
      stop.throwIfAborted();
      if (error instanceof StoreError) {
        reading.failed(error);
        readiness.step(`waiting for ${store.description}: ${error.message}`);
      } else if (error instanceof ConfigError) {
        log.error(`${error.message}; waiting for a valid network configuration`);
        readiness.step(`waiting for a valid network configuration: ${error.message}`);
        invalid = text;
      } else {
        throw error;
      }
    }
  }
}
