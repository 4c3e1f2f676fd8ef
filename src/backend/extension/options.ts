/** The options of the extension backend. */

import { integerOption, type OptionValues, stringOption } from "../../config/options.ts";

export const OPTIONS = {
  PreStartupCommand: stringOption({ default: "" }),
  PostStartupCommand: stringOption({ default: "" }),
  SubnetAddCommand: stringOption({ default: "" }),
  SubnetRemoveCommand: stringOption({ default: "" }),
  ShutdownCommand: stringOption({ default: "" }),
  /** How long a command may take before it is killed; `ShutdownCommand` has `SHUTDOWN_MS`. */
  CommandTimeoutSeconds: integerOption({ default: 30, min: 1, max: 3600 }),
  /** MTU for workloads in bytes; by default the external interface's. */
  MTU: integerOption({ default: undefined, min: 200, max: 65535 }),
};

export type Options = OptionValues<typeof OPTIONS>;

/** The daemon ends within 5 s: first the commands under way may end, then this one. */
export const GRACE_MS = 1000;
export const SHUTDOWN_MS = 2000;
