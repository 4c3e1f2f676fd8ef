/** Waits for a valid network configuration, however long that takes. */

import { type Clock, sleep } from "../base/clock.ts";
import { ConfigError } from "../config/config_error.ts";
import { type NetworkConfig, parseNetworkConfig } from "../config/network_config.ts";
import type { Log } from "../log/log.ts";
import { RepeatedFailure } from "../log/repeated_failure.ts";
import { type LeaseStore, StoreError } from "../subnet/lease_store.ts";
import type { Readiness } from "./readiness.ts";

export interface WaitForConfigOptions {
  readonly store: Pick<LeaseStore, "allocation" | "networkConfig">;
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
        const warn = (message: string) => log.warn(message);
        return parseNetworkConfig(text, { source, allocation: store.allocation, warn });
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
        readiness.step(`waiting for the network configuration: ${error.message}`);
      } else if (error instanceof ConfigError) {
        // With the words of Go flannel, for which its users search.
        const reason = `error parsing subnet config: ${error.message}`;
        log.error(`${reason}; waiting for a valid network configuration`);
        readiness.step(`waiting for a valid network configuration: ${reason}`);
        invalid = text;
      } else {
        throw error;
      }
    }
  }
}
