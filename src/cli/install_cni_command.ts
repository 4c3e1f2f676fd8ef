/** `flanneld install-cni`: installs the CNI plugin and its configuration. See docs/cni.md. */

import { systemClock } from "../base/clock.ts";
import { OperatorError } from "../base/operator_error.ts";
import { printableLine } from "../base/quoting.ts";
import {
  CONFLIST_NAME,
  installConflist,
  InstallError,
  installPlugin,
  preferredConfigs,
} from "../cni/cni_installation.ts";
import type { OptionsOf } from "./flag.ts";
import type { INSTALL_CNI_FLAGS } from "./install_cni_flags.ts";

export interface InstallOutput {
  out(text: string): Promise<void>;
  err(text: string): void;
}

export type InstallCniOptions = OptionsOf<typeof INSTALL_CNI_FLAGS>;

/**
 * Runs the subcommand and returns the exit status. `self`: the command that starts this program
 * again.
 */
export async function installCniCommand(
  options: InstallCniOptions,
  self: readonly string[],
  output: InstallOutput,
): Promise<number> {
  try {
    await install(options, self, output);
    return 0;
  } catch (error) {
    if (!(error instanceof OperatorError)) throw error;
    output.err(`flanneld install-cni: ${printableLine(error.message)}\n`);
    return 1;
  }
}

/** The plugin first: a runtime uses the list as soon as it is there. */
async function install(
  { conf, confDir, binDir, skipConf, skipPlugin }: InstallCniOptions,
  self: readonly string[],
  output: InstallOutput,
): Promise<void> {
  if (!skipPlugin) {
    const [executable, ...others] = self;
    if (executable === undefined || others.length > 0) {
      throw new InstallError(
        "only the compiled executable can install itself; build it, or use --skip-plugin",
      );
    }
    const line = await installPlugin({ executable, directory: binDir, clock: systemClock });
    await output.out(`${line}\n`);
  }
  if (skipConf) return;
  for (const line of await installConflist({ source: conf, directory: confDir })) {
    await output.out(`${line}\n`);
  }
  const [preferred] = preferredConfigs(confDir);
  if (preferred === undefined) return;
  output.err(
    `flanneld install-cni: container runtimes use ${printableLine(preferred)} in ${confDir}, ` +
      `because its name comes before ${CONFLIST_NAME}; remove it if pods should use flannel\n`,
  );
}
