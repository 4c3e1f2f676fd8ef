/**
 * All backends by type. A backend is a folder with a descriptor, which is small and is loaded at
 * once, and a module, which is loaded when it is needed; and one line here.
 */

import { nearestWord } from "../base/nearest_word.ts";
import { quoted } from "../base/quoting.ts";
import { ConfigError } from "../config/config_error.ts";
import { DEFAULT_BACKEND_TYPE, type NetworkConfig } from "../config/network_config.ts";
import type { Log } from "../log/log.ts";
import type { BackendModule } from "../overlay/backend.ts";
import type { BackendDescriptor } from "../overlay/backend_descriptor.ts";
import { ALLOC } from "./alloc/alloc_descriptor.ts";
import { EXTENSION } from "./extension/extension_descriptor.ts";
import { HOST_GW } from "./host_gw/host_gw_descriptor.ts";
import { IPIP } from "./ipip/ipip_descriptor.ts";
import { IPSEC } from "./ipsec/ipsec_descriptor.ts";
import { TENCENT_VPC } from "./tencent_vpc/tencent_vpc_descriptor.ts";
import { UDP } from "./udp/udp_descriptor.ts";
import { VXLAN } from "./vxlan/vxlan_descriptor.ts";
import { WIREGUARD } from "./wireguard/wireguard_descriptor.ts";

export class BackendRegistry {
  readonly #descriptors: ReadonlyMap<string, BackendDescriptor>;

  constructor(descriptors: readonly BackendDescriptor[]) {
    this.#descriptors = new Map(descriptors.map((descriptor) => [descriptor.type, descriptor]));
  }

  get types(): readonly string[] {
    return [...this.#descriptors.keys()];
  }

  /** The backend of this type, in upper or lower case; `undefined` if there is none. */
  find(type: string): BackendDescriptor | undefined {
    return this.#descriptors.get(type.toLowerCase());
  }

  /**
   * The backend for a network. Throws `ConfigError` if its type is unknown, or if it cannot carry
   * one of the network's address families.
   */
  forNetwork({ backend, families }: NetworkConfig): BackendDescriptor {
    const descriptor = this.find(backend.type);
    if (descriptor === undefined) throw this.#unknownType(backend.type);
    if (families[6] !== undefined && !descriptor.families.includes(6)) {
      const remedy = families[4] === undefined
        ? "set it to false and EnableIPv4 to true"
        : "remove it";
      throw new ConfigError(
        `the ${descriptor.type} backend carries IPv4 only, and the network configuration has ` +
          `EnableIPv6; ${remedy}, or use ${this.alternativesForIpv6(descriptor)}`,
        { key: "EnableIPv6" },
      );
    }
    return descriptor;
  }

  /**
   * Throws `ConfigError` for a configuration with which no daemon could start: see `forNetwork`, or
   * the backend rejects its options.
   */
  async checkConfig(config: NetworkConfig, log: Pick<Log, "warn">): Promise<void> {
    const module: BackendModule = await this.forNetwork(config).load();
    module.checkConfig(config, log);
  }

  /** The backends that carry IPv6 and protect packets as well as this one does, as a phrase. */
  alternativesForIpv6({ encrypts }: BackendDescriptor): string {
    const types = [...this.#descriptors.values()]
      .filter((one) => one.families.includes(6) && one.connectsNodes && (one.encrypts || !encrypts))
      .map(({ type }) => type);
    return new Intl.ListFormat("en-GB", { type: "disjunction" }).format(types);
  }

  /** Whether a device of this name was created by one of the backends. */
  isDeviceName(name: string): boolean {
    return [...this.#descriptors.values()].some((one) => one.isDeviceName?.(name));
  }

  #unknownType(type: string): ConfigError {
    const guess = nearestWord(type, this.types);
    const hint = guess === undefined ? "" : `; did you mean ${JSON.stringify(guess)}?`;
    return new ConfigError(
      `unknown Backend Type ${quoted(type)}; use one of ${this.types.join(", ")}${hint}`,
      { key: "Type" },
    );
  }
}

/** In alphabetical order. */
export const BACKENDS = new BackendRegistry([
  ALLOC,
  EXTENSION,
  HOST_GW,
  IPIP,
  IPSEC,
  TENCENT_VPC,
  UDP,
  VXLAN,
  WIREGUARD,
]);

/** The backend of a configuration that names none. */
export const DEFAULT_BACKEND = BACKENDS.find(DEFAULT_BACKEND_TYPE) as BackendDescriptor;
