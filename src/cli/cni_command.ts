/** `flanneld cni`: the CNI plugin, also under the name `flannel`. See docs/cni.md. */

import { systemClock } from "../base/clock.ts";
import { runCniPlugin } from "../cni/cni_plugin.ts";
import { readBounded } from "../cni/plugin_input.ts";
import { versionText } from "./version.ts";

export interface CniStreams {
  readonly input: () => ReadableStream<Uint8Array>;
  out(text: string): Promise<void>;
  err(text: string): void;
}

/** Runs the plugin and returns the exit status. */
export async function cniCommand(streams: CniStreams): Promise<number> {
  return await runCniPlugin({
    environment: process.env,
    clock: systemClock,
    about: `CNI plugin flannel ${versionText()}`,
    readConfig: () => readBounded(streams.input()),
    print: (text) => streams.out(text),
    warn: (text) => streams.err(text),
  });
}
