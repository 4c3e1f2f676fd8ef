/** What the daemon knows about itself, as it becomes known. */

import type { Clock } from "../base/clock.ts";
import type { DaemonOptions } from "../cli/daemon_options.ts";
import type { NetworkConfig } from "../config/network_config.ts";
import type { OpenedStore } from "./daemon_ports.ts";
import type { NetworkStatus, PeerSource } from "./network_status.ts";
import type { Readiness } from "./readiness.ts";

/** Only the start of the daemon writes it. */
export interface StatusFacts {
  readonly options: Pick<DaemonOptions, "subnetFile">;
  readonly readiness: Pick<Readiness, "start" | "problems">;
  readonly clock: Pick<Clock, "wallMs">;
  /** When the daemon was started, in milliseconds since 1970. */
  readonly startedMs: number;
  opened?: OpenedStore;
  config?: NetworkConfig;
  /** Why the external interface was chosen. */
  reasons?: readonly string[];
  network?: { status(): NetworkStatus; readonly leases: PeerSource };
}
