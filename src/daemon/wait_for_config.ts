/** Waits for a network configuration that can be used, for as long as it takes. */

import { ConfigError } from "../config/config_error.ts";
import { type NetworkConfig, parseNetworkConfig } from "../config/network_config.ts";
import type { Log } from "../log/log.ts";
import { RepeatedFailure } from "../log/repeated_failure.ts";
import { type LeaseStore, StoreError } from "../subnet/lease_store.ts";
import { sleep, systemClock } from "../base/clock.ts";
import type { Readiness } from "./readiness.ts";

export interface WaitForConfigOptions {
  readonly store: LeaseStore;
  /** What holds the configuration, for messages: a key or a path. */
  readonly source: string;
  readonly progress: Readiness;
  readonly log: Log;
}

const RETRY_MS = 1000;

/** Asks once a second. A text that cannot be used is reported once. Rejects when `stop` aborts. */
export async function waitForConfig(
  { store, source, progress, log }: WaitForConfigOptions,
  stop: AbortSignal,
): Promise<NetworkConfig> {
  const reading = new RepeatedFailure({
    log,
    clock: systemClock,
    what: "reading the network configuration",
  });
  let refused: string | undefined;
  let isAbsenceLogged = false;
  for (;; await sleep(systemClock, RETRY_MS, stop)) {
    stop.throwIfAborted();
    let text: string | undefined;
    try {
      text = await store.networkConfig(stop);
      reading.succeeded();
      if (text !== undefined && text !== refused) {
        return parseNetworkConfig(text, { source, warn: (message) => log.warn(message) });
      }
      if (text === undefined) {
        if (!isAbsenceLogged) {
          log.info(`waiting for the network configuration: there is none at ${source} yet`);
        }
        isAbsenceLogged = true;
        progress.step(`waiting for the network configuration: there is none at ${source} yet`);
      }
    } catch (error) {
      stop.throwIfAborted();
      if (error instanceof StoreError) {
        reading.failed(error);
        progress.step(`waiting for ${store.description}: ${error.message}`);
      } else if (error instanceof ConfigError) {
        log.error(`${error.message}; waiting for a better one`);
        progress.step(`waiting for a usable network configuration: ${error.message}`);
        refused = text;
      } else {
        throw error;
      }
    }
  }
}
