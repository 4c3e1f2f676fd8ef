/** All backends by type. Each is loaded when it is asked for. */

import { ConfigError } from "../config/config_error.ts";
import type { NetworkConfig } from "../config/network_config.ts";
import type { Log } from "../log/log.ts";
import { nearestWord } from "../base/nearest_word.ts";
import { shown } from "../base/quoting.ts";
import type { BackendModule } from "../overlay/backend.ts";
import { requireIpv4Only } from "../overlay/ipv4_only.ts";

type Loader = () => Promise<{ readonly default: BackendModule }>;

const BACKENDS: Readonly<Record<string, Loader>> = {
  alloc: () => import("./alloc.ts"),
  extension: () => import("./extension/extension.ts"),
  "host-gw": () => import("./host_gw.ts"),
  ipip: () => import("./ipip/ipip.ts"),
  ipsec: () => import("./ipsec/ipsec.ts"),
  "tencent-vpc": () => import("./tencent_vpc/tencent_vpc.ts"),
  udp: () => import("./udp/udp.ts"),
  vxlan: () => import("./vxlan.ts"),
  wireguard: () => import("./wireguard/wireguard.ts"),
};

/** The types in alphabetical order. */
export const BACKEND_TYPES: readonly string[] = Object.keys(BACKENDS);

/** Those that refuse a network with IPv6. */
const IPV4_ONLY: ReadonlySet<string> = new Set(["ipip", "ipsec", "tencent-vpc", "udp"]);

/** Whether the backend of this type, in any case, takes a network with IPv6. */
export function carriesIpv6(type: string): boolean {
  return !IPV4_ONLY.has(type.toLowerCase());
}

/** The backend of this type, in any case; throws `ConfigError` with the types that there are. */
export async function loadBackend(type: string): Promise<BackendModule> {
  return (await loaderOf(type)()).default;
}

/**
 * Throws `ConfigError` where every daemon would end: there is no such backend, it does not carry the
 * network's families, or it has other options.
 */
export async function checkBackend(
  config: NetworkConfig,
  log: Pick<Log, "warn">,
): Promise<void> {
  const { type } = config.backend;
  const module = await loadBackend(type);
  if (!carriesIpv6(type)) requireIpv4Only(config);
  module.checkConfig(config, log);
}

function loaderOf(type: string): Loader {
  const name = type.toLowerCase();
  const load = Object.hasOwn(BACKENDS, name) ? BACKENDS[name] : undefined;
  if (load !== undefined) return load;
  const guess = nearestWord(name, BACKEND_TYPES);
  const hint = guess === undefined ? "" : `; did you mean ${JSON.stringify(guess)}?`;
  throw new ConfigError(
    `Backend Type ${shown(type)} is unknown; this program has ` +
      `${BACKEND_TYPES.join(", ")}${hint}`,
  );
}
