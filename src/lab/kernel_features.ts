/**
 * Features that the kernel of this machine lacks. Each is tried in a temporary network namespace:
 * no list of modules shows what is compiled in and what can be loaded.
 */

import type { KernelFeature } from "../overlay/backend_descriptor.ts";
import { loadModules } from "../process/kernel_modules.ts";
import { runProgram } from "../process/run_program.ts";

interface Feature {
  /** Completes "this kernel has no …". */
  readonly what: string;
  /** Modules that provide it (modprobe(8)). */
  readonly modules: readonly string[];
  /** A command that succeeds if the kernel has the feature. */
  readonly trial: string;
}

/**
 * One line for each of these features that the kernel lacks, with the reason and the modules to
 * load. Loads the modules if the machine has them.
 */
export async function missingFeatures(names: readonly KernelFeature[]): Promise<string[]> {
  const lines = await Promise.all(names.map(missingFeature));
  return lines.filter((line) => line !== undefined);
}

const ESP = "proto esp spi 0x1000 mode tunnel aead 'rfc4106(gcm(aes))' " +
  "0x000102030405060708090a0b0c0d0e0f10111213 128";

const FEATURES = {
  esp4: {
    what: "ESP states for IPv4",
    modules: ["xfrm_user", "esp4"],
    trial: `ip xfrm state add src 192.0.2.1 dst 192.0.2.2 ${ESP}`,
  },
  esp6: {
    what: "ESP states for IPv6",
    modules: ["xfrm_user", "esp6"],
    trial: `ip xfrm state add src 2001:db8::1 dst 2001:db8::2 ${ESP}`,
  },
  fou: {
    what: "ipip tunnels in UDP (foo over UDP)",
    modules: ["ipip", "fou"],
    trial: "ip fou add port 8285 ipproto 4 && " +
      "ip link add trial type ipip local 192.0.2.1 ttl inherit encap fou encap-sport 8285 " +
      "encap-dport 8285",
  },
  ipip: {
    what: "ipip devices",
    modules: ["ipip"],
    trial: "ip link add trial type ipip local 192.0.2.1",
  },
  tun: {
    what: "TUN devices",
    modules: ["tun"],
    trial: "ip tuntap add trial mode tun",
  },
  vxlan: {
    what: "vxlan devices",
    modules: ["vxlan"],
    trial: "ip link add trial type vxlan id 1 dstport 4789",
  },
  wireguard: {
    what: "WireGuard devices",
    modules: ["wireguard"],
    trial: "ip link add trial type wireguard",
  },
} as const satisfies Readonly<Record<KernelFeature, Feature>>;

async function missingFeature(name: KernelFeature): Promise<string | undefined> {
  const { what, modules, trial } = FEATURES[name];
  let reason = await tryOut(trial);
  if (reason !== undefined && await loadModules(modules)) reason = await tryOut(trial);
  if (reason === undefined) return undefined;
  return `this kernel has no ${what} (${reason}); load them with: modprobe -a ${modules.join(" ")}`;
}

/** The error of the command in a network namespace of its own; `undefined` if it succeeds. */
async function tryOut(command: string): Promise<string | undefined> {
  const result = await runProgram("unshare", ["--net", "sh", "-c", command]);
  if (result.exitCode === 0) return undefined;
  const error = (result.stderr.trim().split("\n")[0] as string)
    .replace(/^(Error|RTNETLINK answers): /, "").replace(/\.$/, "");
  return error || `exit code ${result.exitCode}`;
}
