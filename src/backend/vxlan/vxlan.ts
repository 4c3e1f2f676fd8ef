/**
 * vxlan: the kernel encapsulates each packet between nodes in UDP (RFC 7348).
 *
 * The journey of a packet from a workload at 10.5.1.7 on node A (192.168.0.1) to one at 10.5.2.9 on
 * node B (192.168.0.2, subnet 10.5.2.0/24), with the entry that decides each hop:
 *
 *   1. It leaves the workload by its default route and reaches A's bridge.
 *   2. On A the ROUTE `10.5.2.0/24 via 10.5.2.0 dev flannel.1 onlink` sends it to the vxlan device,
 *      with 10.5.2.0 as next hop: `onlink`, because no address of A includes 10.5.2.0.
 *   3. The permanent NEIGHBOUR `10.5.2.0 lladdr <B's VTEP MAC>` provides the destination of the
 *      inner Ethernet header without ARP.
 *   4. The FDB entry `<B's VTEP MAC> dst 192.168.0.2` says which host has that MAC: the kernel adds
 *      the outer headers, with the device's `local` address as source, and sends by its underlay
 *      `dev`.
 *   5. B's flannel.1 removes the outer headers and accepts the frame, since the inner MAC is its
 *      own. B forwards the packet by its own route for 10.5.2.0/24, the bridge's.
 *
 * A packet of node A itself has the ADDRESS 10.5.1.0/32 of flannel.1 as its source, so that the
 * reply finds its way back. The address is a /32 so that the kernel adds no route for it.
 *
 * With DirectRouting, a peer that is reached without a gateway needs none of this: the ROUTE
 * `10.5.2.0/24 via 192.168.0.2 dev eth0` sends the packet without encapsulation. IPv6 has its own
 * device, `flannel-v6.<VNI>`, over IPv6, and the same entries.
 */

import { entriesOf, familiesOf, mapFamilies, type PerFamily, valuesOf } from "../../addr/family.ts";
import type { Family, IpAddress } from "../../addr/ip.ts";
import { localMac, type MacAddress, nonUnicastMacKind, parseMacAddress } from "../../addr/mac.ts";
import { type Prefix, prefixAddress } from "../../addr/prefix.ts";
import { ConfigError } from "../../config/config_error.ts";
import type { FamilyNetwork, NetworkConfig } from "../../config/network_config.ts";
import {
  booleanOption,
  integerOption,
  NO_WARNINGS,
  type OptionValues,
  readOptions,
} from "../../config/option_schema.ts";
import type { Log } from "../../log/log.ts";
import type { Ownership } from "../../state/ownership.ts";
import { type Resource, VXLAN_DEFAULT_PORT, type VxlanLink } from "../../state/resource.ts";
import type { Lease } from "../../subnet/lease.ts";
import type { DeviceIdentity } from "../../subnet/lease_store.ts";
import { quoted } from "../../base/quoting.ts";
import { advertisedAddresses } from "../../overlay/advertised_addresses.ts";
import type {
  Backend,
  BackendHost,
  BackendModule,
  PeerReachability,
} from "../../overlay/backend.ts";
import type { NodeInput } from "../../overlay/node_input.ts";
import type { ExternalInterface } from "../../host/external_interface.ts";
import { ipv6MtuProblem, leavesRoomForIpv6, requireIpv6Mtu } from "../../overlay/ipv6_mtu.ts";
import { ipv6Enabled, nodeAddress } from "../../overlay/node_entries.ts";
import {
  dataName,
  InvalidPeerError,
  jsonMember,
  peerAddress,
  peerData,
  requireBackendType,
} from "../../overlay/peer_lease.ts";
import { peerRoute } from "../../overlay/peer_route.ts";
import { BackendError } from "../../overlay/backend_error.ts";
import { VXLAN, vxlanDeviceName } from "./vxlan_descriptor.ts";

export const OPTIONS = {
  VNI: integerOption({ default: 1, min: 0, max: 0xff_ffff }), // 24 bits, RFC 7348 section 5
  /** 0 is the kernel's default. */
  Port: integerOption({ default: VXLAN_DEFAULT_PORT, min: 0, max: 65535 }),
  GBP: booleanOption({ default: false }),
  Learning: booleanOption({ default: false }),
  DirectRouting: booleanOption({ default: false }),
  /** MTU of the underlay in bytes, at most the external interface's; the overhead is subtracted. */
  MTU: integerOption({ default: undefined, min: 200, max: 65535 }),
};

/** Options of Go flannel on Windows, which shares the configuration with the Linux nodes. */
const WINDOWS_OPTIONS = ["Name", "MacPrefix"];

type Options = OptionValues<typeof OPTIONS>;

/** What precedes the inner IP packet: Ethernet 14, VXLAN 8, UDP 8, and the outer IP header. */
const OVERHEAD_BYTES: Readonly<Record<Family, number>> = { 4: 14 + 8 + 8 + 20, 6: 14 + 8 + 8 + 40 };
const IFNAME_MAX_LENGTH = 15; // IFNAMSIZ less the final zero, linux/if.h

const vxlan: BackendModule = {
  checkConfig: readConfig,
  options: OPTIONS,
  mtuBytes: (config, external) =>
    vxlanMtuBytes(readConfig(config, NO_WARNINGS), external, config.families),
  async prepare(host) {
    const options = readConfig(host.config, host.log);
    checkExternal(options, host);
    const publicAddresses = advertisedAddresses(host);
    const macs: { 4?: MacAddress; 6?: MacAddress } = {};
    for (const family of familiesOf(host.config.families)) {
      macs[family] = await chooseMac(host, options.VNI, family);
    }
    return new VxlanBackend({
      options,
      networks: host.config.families,
      macs,
      publicAddresses,
    });
  },
};

export default vxlan;

interface VxlanSetup {
  readonly options: Options;
  readonly networks: PerFamily<FamilyNetwork>;
  /** MAC addresses of this node's devices, one for each family of the network. */
  readonly macs: PerFamily<MacAddress>;
  readonly publicAddresses: PerFamily<IpAddress>;
}

class VxlanBackend implements Backend {
  readonly type = VXLAN.type;
  readonly attributes: Backend["attributes"];
  readonly identity: DeviceIdentity;
  readonly needsReachability: boolean;
  readonly #setup: VxlanSetup;

  constructor(setup: VxlanSetup) {
    this.#setup = setup;
    this.identity = deviceIdentity(setup);
    this.needsReachability = setup.options.DirectRouting;
    this.attributes = {
      publicAddresses: setup.publicAddresses,
      backendType: VXLAN.type,
      backendData: mapFamilies(setup.macs, (mac) => ({ VNI: setup.options.VNI, VtepMAC: mac })),
    };
  }

  ownership(external: ExternalInterface): Ownership {
    const { networks, options } = this.#setup;
    return {
      links: new Set(familiesOf(networks).map((family) => vxlanDeviceName(options.VNI, family))),
      linkTypes: new Set(["vxlan"]),
      networks: valuesOf(networks).map(({ network }) => network),
      routeLink: external.name,
    };
  }

  mtuBytes(external: ExternalInterface): number {
    return vxlanMtuBytes(this.#setup.options, external, this.#setup.networks);
  }

  externalProblem(external: ExternalInterface): string | undefined {
    return externalProblem(this.#setup.networks, external);
  }

  node({ own, external }: NodeInput): Resource[] {
    return entriesOf(this.#setup.macs).flatMap(([family, mac]) => {
      const link = this.#device(external, mac, family);
      const resources: Resource[] = [link];
      if (!canCarry(external, family)) return resources;
      if (family === 6) {
        // A workload that poses as a router could hand out addresses and default routes otherwise,
        // unless the host forwards IPv6: it then ignores routers by default.
        const path = `net/ipv6/conf/${link.name}/accept_ra`;
        const noRouters: Resource = { kind: "sysctl", path, value: "0", isPrecaution: true };
        resources.push(noRouters, ipv6Enabled(link.name));
      }
      return [...resources, ...nodeAddress(own, link.name, family)];
    });
  }

  peer(peer: Lease, { external }: NodeInput, reachability: PeerReachability): Resource[] {
    requireBackendType(peer, VXLAN.type);
    return familiesOf(this.#setup.networks).flatMap((family): Resource[] => {
      const subnet = peer.subnets[family];
      if (subnet === undefined) return [];
      const remote = peerAddress(peer, family);
      const mac = this.#peerMac(peer, family);
      if (this.#setup.options.DirectRouting && reachability.direct[family]) {
        return [peerRoute({ subnet, gateway: remote, link: external.name, onlink: false })];
      }
      if (!canCarry(external, family)) return [];
      return this.#tunnelEntries(subnet, remote, mac, family);
    });
  }

  #tunnelEntries(subnet: Prefix, remote: IpAddress, mac: MacAddress, family: Family): Resource[] {
    const link = vxlanDeviceName(this.#setup.options.VNI, family);
    const gateway = prefixAddress(subnet);
    return [
      { kind: "neighbour", link, address: gateway, mac },
      { kind: "fdb", link, mac, remote },
      peerRoute({ subnet, gateway, link, onlink: true }),
    ];
  }

  #peerMac(peer: Lease, family: Family): MacAddress {
    const key = dataName(family);
    const data = peerData(peer, family);
    const vni = jsonMember(data, "VNI");
    if (vni !== undefined && vni !== this.#setup.options.VNI) {
      throw new InvalidPeerError(
        `its VNI is ${quoted(vni)}, this node's is ${this.#setup.options.VNI}`,
      );
    }
    const text = jsonMember(data, "VtepMAC");
    const mac = typeof text === "string" ? parseMacAddress(text) : undefined;
    if (mac === undefined) {
      throw new InvalidPeerError(`its ${key} has an invalid VtepMAC ${quoted(text)}`);
    }
    const kind = nonUnicastMacKind(mac);
    if (kind !== undefined) {
      throw new InvalidPeerError(`its ${key} has the VtepMAC ${mac}, a ${kind} address`);
    }
    if (mac === this.#setup.macs[family]) {
      throw new InvalidPeerError(`its ${key} has this node's own VtepMAC ${mac}`);
    }
    return mac;
  }

  #device(external: ExternalInterface, mac: MacAddress, family: Family): VxlanLink {
    const { options } = this.#setup;
    return {
      kind: "link",
      type: "vxlan",
      name: vxlanDeviceName(options.VNI, family),
      mtuBytes: deviceMtuBytes(options, external, family),
      mac,
      up: true,
      vni: options.VNI,
      local: external.sourceAddresses[family] as IpAddress,
      underlay: external.name,
      port: options.Port,
      learning: options.Learning,
      gbp: options.GBP,
    };
  }
}

/** The smallest MTU of the devices: a workload has one interface for both families. */
function vxlanMtuBytes(
  options: Options,
  external: Pick<ExternalInterface, "mtuBytes">,
  families: PerFamily<unknown>,
): number {
  return Math.min(
    ...familiesOf(families).map((family) => deviceMtuBytes(options, external, family)),
  );
}

function deviceMtuBytes(
  { MTU }: Options,
  external: Pick<ExternalInterface, "mtuBytes">,
  family: Family,
): number {
  // The kernel rejects an MTU that exceeds the underlay's (vxlan_config_apply).
  return Math.min(MTU ?? Infinity, external.mtuBytes) - OVERHEAD_BYTES[family];
}

/** The VTEP MAC address: a forwarding entry sends packets for it to a single host. */
function deviceIdentity({ macs, options }: VxlanSetup): DeviceIdentity {
  const names = familiesOf(macs).map((family) => vxlanDeviceName(options.VNI, family));
  return {
    texts: valuesOf(macs),
    matchIn: ({ backendType, backendData }) => {
      if (backendType.toLowerCase() !== VXLAN.type) return undefined;
      const family = familiesOf(macs).find((family) => {
        const text = jsonMember(backendData[family], "VtepMAC");
        return typeof text === "string" && parseMacAddress(text) === macs[family];
      });
      return family && `VtepMAC ${macs[family]}`;
    },
    remedy: `delete the device (${names.map((name) => `ip link delete ${name}`).join("; ")})`,
  };
}

/** If it cannot, the kernel would reject the address and each neighbour and route. */
function canCarry({ mtuBytes }: ExternalInterface, family: Family): boolean {
  return family === 4 || leavesRoomForIpv6(mtuBytes, OVERHEAD_BYTES[6]);
}

function readConfig({ backend, families }: NetworkConfig, log: Pick<Log, "warn">): Options {
  const warn = (message: string) => log.warn(message);
  const options = readOptions(backend.options, OPTIONS, { warn, otherKeys: WINDOWS_OPTIONS });
  for (const family of familiesOf(families)) {
    const name = vxlanDeviceName(options.VNI, family);
    if (name.length > IFNAME_MAX_LENGTH) {
      throw new ConfigError(
        `VNI ${options.VNI} makes the device name ${name} longer than the ${IFNAME_MAX_LENGTH} ` +
          "characters that Linux allows; choose a smaller VNI",
        { key: "VNI" },
      );
    }
  }
  if (families[6] !== undefined) requireIpv6Mtu(options.MTU, OVERHEAD_BYTES[6]);
  return options;
}

function checkExternal(options: Options, { config, external, log }: BackendHost): void {
  const problem = externalProblem(config.families, external);
  if (problem !== undefined) throw new BackendError(problem);
  if (options.MTU !== undefined && options.MTU > external.mtuBytes) {
    log.warn(
      `MTU ${options.MTU} exceeds the ${external.mtuBytes} bytes of ${external.name}; using ` +
        `${external.mtuBytes}`,
    );
  }
}

/** `readConfig` has rejected an option `MTU` that is too small, so only the interface's matters. */
function externalProblem(
  networks: PerFamily<FamilyNetwork>,
  external: ExternalInterface,
): string | undefined {
  return networks[6] && ipv6MtuProblem(external, OVERHEAD_BYTES[6]);
}

/**
 * The MAC address by which peers know this node, from the device or the lease; otherwise a new one.
 */
async function chooseMac(host: BackendHost, vni: number, family: Family): Promise<MacAddress> {
  const name = vxlanDeviceName(vni, family);
  const existing = (await host.kernel.link(name))?.link;
  if (existing?.type === "vxlan" && nonUnicastMacKind(existing.mac) === undefined) {
    host.log.info(`keeping MAC address ${existing.mac} of the existing device ${name}`);
    return existing.mac;
  }
  const attributes = host.previousLease?.attributes;
  if (attributes?.backendType === VXLAN.type) {
    const stored = jsonMember(attributes.backendData[family], "VtepMAC");
    const mac = typeof stored === "string" ? parseMacAddress(stored) : undefined;
    if (mac !== undefined && nonUnicastMacKind(mac) === undefined) {
      host.log.info(`using MAC address ${mac} of this node's lease for device ${name}`);
      return mac;
    }
  }
  return localMac(host.random(6));
}
