/**
 * A network of nodes to test with: node n has the public address 192.168.0.n and subnet
 * 10.5.n.0/24.
 */

import { mapFamilies, type PerFamily } from "../../src/addr/family.ts";
import type { Family, IpAddress } from "../../src/addr/ip.ts";
import { parseIpAddress } from "../../src/addr/ip.ts";
import { type MacAddress, parseMacAddress } from "../../src/addr/mac.ts";
import { parsePrefix, type Prefix } from "../../src/addr/prefix.ts";
import { FakeXfrmStates } from "./fake_xfrm_states.ts";
import { systemClock } from "../../src/base/clock.ts";
import type { BackendHost } from "../../src/overlay/backend.ts";
import type { ExternalInterface } from "../../src/host/external_interface.ts";
import type { FamilyNetwork, NetworkConfig } from "../../src/config/network_config.ts";
import type { Log } from "../../src/log/log.ts";
import type { Kernel } from "../../src/kernel/kernel.ts";
import type { OtherLink, Resource } from "../../src/state/resource.ts";
import type { Lease, LeaseKey } from "../../src/subnet/lease.ts";

export function ip(text: string): IpAddress {
  const address = parseIpAddress(text);
  if (address === undefined) throw new Error(`${text} is no address`);
  return address;
}

export function prefix(text: string): Prefix {
  const value = parsePrefix(text);
  if (value === undefined) throw new Error(`${text} is no prefix`);
  return value;
}

export function mac(n: number): MacAddress {
  return parseMacAddress(`02:00:00:00:00:${n.toString(16).padStart(2, "0")}`) as MacAddress;
}

export function subnetOf(n: number, family: Family): Prefix {
  return prefix(family === 4 ? `10.5.${n}.0/24` : `fc00:0:0:${n.toString(16)}::/64`);
}

function publicAddressOf(n: number, family: Family): IpAddress {
  return ip(family === 4 ? `192.168.0.${n}` : `fd00::${n.toString(16)}`);
}

/** A value for each of these families. */
export function each<T>(families: readonly Family[], value: (family: Family) => T): PerFamily<T> {
  return mapFamilies(Object.fromEntries(families.map((f) => [f, f])), (_, f) => value(f));
}

export const NETWORKS: Required<PerFamily<FamilyNetwork>> = {
  4: {
    network: prefix("10.5.0.0/16"),
    subnetLength: 24,
    subnetMin: ip("10.5.1.0"),
    subnetMax: ip("10.5.255.0"),
  },
  6: {
    network: prefix("fc00::/48"),
    subnetLength: 64,
    subnetMin: ip("fc00:0:0:1::"),
    subnetMax: ip("fc00:0:0:ffff::"),
  },
};

export function config(
  type: string,
  families: readonly Family[],
  options: Readonly<Record<string, unknown>> = {},
): NetworkConfig {
  return {
    families: each(families, (family) => NETWORKS[family]),
    enableNftables: false,
    backend: { type, options },
  };
}

export function lease(
  n: number,
  backendType: string,
  families: readonly Family[],
  vtepMac: MacAddress = mac(n),
): Lease {
  return {
    key: `node-${n}` as LeaseKey,
    subnets: each(families, (family) => subnetOf(n, family)),
    attributes: {
      publicAddresses: each(families, (family) => publicAddressOf(n, family)),
      backendType,
      backendData: backendType === "vxlan"
        ? each(families, () => ({ VNI: 1, VtepMAC: vtepMac }))
        : {},
    },
    created: BigInt(n),
    changed: BigInt(n),
  };
}

/** This node's (n = 1) external interface. */
export function external(families: readonly Family[]): ExternalInterface {
  const addresses = each(families, (family) => publicAddressOf(1, family));
  return {
    name: "eth0",
    ifindex: 2,
    mtuBytes: 1500,
    addresses,
    networks: each(families, (family) => prefix(family === 4 ? "192.168.0.0/24" : "fd00::/64")),
    publicAddresses: addresses,
    sourceAddresses: addresses,
  };
}

export const ETH0: OtherLink = {
  kind: "link",
  type: "other",
  linkKind: "",
  name: "eth0",
  mtuBytes: 1500,
  mac: mac(0xee),
  up: true,
};

/** What this node's kernel holds before the daemon starts. */
export const HOST: readonly Resource[] = [
  ETH0,
  { kind: "address", link: "eth0", address: ip("192.168.0.1"), prefixLength: 24 },
  { kind: "address", link: "eth0", address: ip("fd00::1"), prefixLength: 64 },
];

export function backendHost(
  kernel: Kernel,
  network: NetworkConfig,
  more: Partial<BackendHost> = {},
): BackendHost & { readonly logged: string[] } {
  const logged: string[] = [];
  const families = ([4, 6] as const).filter((family) => network.families[family]);
  return {
    config: network,
    external: external(families),
    kernel,
    wireguardSupport: () => Promise.resolve("kernel"),
    openXfrmStates: () => new FakeXfrmStates(),
    previousLease: undefined,
    random: (length) => new Uint8Array(length).fill(1),
    env: {},
    runDirectory: "/nonexistent",
    stop: new AbortController().signal,
    clock: systemClock,
    log: keepingLog(logged),
    ...more,
    logged,
  };
}

/** A log that keeps the lines at info and above, those at warn and above marked as warnings. */
function keepingLog(lines: string[]): Log {
  const drop = () => {};
  const warn = (message: string) => void lines.push(`warning: ${message}`);
  const log = {
    info: (message: string) => void lines.push(message),
    warn,
    error: warn,
    fatal: warn,
    debug: drop,
    trace: drop,
    isLevelEnabled: () => false,
    child: () => log,
  };
  return log as unknown as Log;
}

/** A log that keeps the lines at warn and above. */
export function warningsLog(): Log & { readonly lines: string[] } {
  const lines: string[] = [];
  const keep = (...args: unknown[]) => void lines.push(String(args.at(-1)));
  const drop = () => {};
  const log = {
    lines,
    fatal: keep,
    error: keep,
    warn: keep,
    info: drop,
    debug: drop,
    trace: drop,
    isLevelEnabled: () => false,
    child: () => log,
  };
  return log as unknown as Log & { readonly lines: string[] };
}
