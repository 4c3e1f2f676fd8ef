/** All backends by type. Each is loaded when it is asked for. */

import { ConfigError } from "../config/config_error.ts";
import { nearest } from "../text/nearest.ts";
import type { BackendModule } from "./backend.ts";

const BACKENDS: Readonly<Record<string, () => Promise<{ readonly default: BackendModule }>>> = {
  alloc: () => import("./alloc.ts"),
  extension: () => import("./extension/extension.ts"),
  "host-gw": () => import("./host_gw.ts"),
  ipip: () => import("./ipip.ts"),
  ipsec: () => import("./ipsec/ipsec.ts"),
  "tencent-vpc": () => import("./tencent_vpc/tencent_vpc.ts"),
  udp: () => import("./udp/udp.ts"),
  vxlan: () => import("./vxlan.ts"),
  wireguard: () => import("./wireguard/wireguard.ts"),
};

/** The types in alphabetical order. */
export const BACKEND_TYPES: readonly string[] = Object.keys(BACKENDS);

/** The backend of this type, in any case; throws `ConfigError` with the types that there are. */
export async function loadBackend(type: string): Promise<BackendModule> {
  const name = type.toLowerCase();
  const load = Object.hasOwn(BACKENDS, name) ? BACKENDS[name] : undefined;
  if (load !== undefined) return (await load()).default;
  const guess = nearest(name, BACKEND_TYPES);
  const hint = guess === undefined ? "" : `; did you mean ${JSON.stringify(guess)}?`;
  throw new ConfigError(
    `Backend Type ${JSON.stringify(type)} is unknown; this program has ` +
      `${BACKEND_TYPES.join(", ")}${hint}`,
  );
}
