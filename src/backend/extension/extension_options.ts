/** The options of the extension backend. */

import {
  integerOption,
  type OptionSpec,
  type OptionValues,
  stringOption,
} from "../../config/option_schema.ts";

export const OPTIONS = {
  PreStartupCommand: stringOption({ default: "" }),
  PostStartupCommand: stringOption({ default: "" }),
  SubnetAddCommand: stringOption({ default: "" }),
  SubnetRemoveCommand: stringOption({ default: "" }),
  ShutdownCommand: stringOption({ default: "" }),
  /** Variables that commands get although they look like secrets. */
  CommandEnvironment: namesOption(),
  /** A command that takes longer is killed. The limit of `ShutdownCommand` is `SHUTDOWN_MS`. */
  CommandTimeoutSeconds: integerOption({ default: 30, min: 1, max: 3600 }),
  /** MTU of workloads in bytes; by default that of the external interface. */
  MTU: integerOption({ default: undefined, min: 200, max: 65535 }),
};

/** Names of variables, separated by spaces. */
function namesOption(): OptionSpec<readonly string[]> {
  return {
    default: [],
    accepted: 'names of variables separated by spaces, such as "AWS_PROFILE AWS_SESSION_TOKEN"',
    parse: (value) => {
      if (typeof value !== "string") return undefined;
      const names = value.split(" ").filter((name) => name !== "");
      return names.every((name) => /^[A-Za-z_][A-Za-z0-9_]*$/.test(name)) ? names : undefined;
    },
  };
}

export type ExtensionOptions = OptionValues<typeof OPTIONS>;

/** The daemon ends within 5 s: first the running commands may finish, then ShutdownCommand runs. */
export const GRACE_MS = 1000;
export const SHUTDOWN_MS = 2000;
