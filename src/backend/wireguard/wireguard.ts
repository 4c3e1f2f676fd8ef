/**
 * wireguard: each packet between nodes is encrypted and sent to the peer that has its destination.
 *
 * The journey of a packet from a workload at 10.5.1.7 on node A (192.168.0.1) to one at 10.5.2.9 on
 * node B (192.168.0.2, subnet 10.5.2.0/24), with the entry that decides each hop:
 *
 *   1. It leaves the workload by its default route and reaches A's bridge.
 *   2. On A the one ROUTE for the whole network, `10.5.0.0/16 dev flannel-wg scope link`, sends it
 *      to the WireGuard device; A's own subnet has a longer prefix, by the bridge.
 *   3. The PEER with the ALLOWED IPS 10.5.2.0/24 is B, known by its public key. The device encrypts
 *      the packet with the session that A and B agreed on with their keys (and the pre-shared key).
 *   4. It sends the result by UDP from A's LISTEN PORT to the peer's ENDPOINT 192.168.0.2:51820.
 *   5. B's device finds the session, and with it the peer A, and decrypts. It accepts the packet
 *      only if its source is within A's allowed IPs, 10.5.1.0/24. B forwards it by its own route
 *      for 10.5.2.0/24, the bridge's.
 *
 * A packet of node A itself has the ADDRESS 10.5.1.0/32 of flannel-wg as its source, which is
 * within A's allowed IPs. If B's packets come from an endpoint that no lease names (B is behind
 * NAT), the kernel uses that one for as long as B keeps sending.
 *
 * In the mode "separate" IPv6 has a device of its own, `flannel-wg-v6`, over IPv6. In the other
 * modes there is one device, and a peer's allowed IPs are its subnets of both families.
 *
 * https://www.wireguard.com/papers/wireguard.pdf
 */

import { entriesOf, familiesOf, mapFamilies, type PerFamily, valuesOf } from "../../addr/family.ts";
import { FAMILIES, type Family, type IpAddress, nonUnicastKind } from "../../addr/ip.ts";
import type { Prefix } from "../../addr/prefix.ts";
import { parseWireguardKey, type WireguardKey, ZERO_KEY } from "../../addr/wireguard_key.ts";
import { ConfigError } from "../../config/config_error.ts";
import type { FamilyNetwork, NetworkConfig } from "../../config/network_config.ts";
import {
  integerOption,
  NO_WARNINGS,
  type OptionSpec,
  type OptionValues,
  readOptions,
  stringOption,
} from "../../config/option_schema.ts";
import type { Log } from "../../log/log.ts";
import type { Ownership } from "../../state/ownership.ts";
import { NO_MAC, type Resource, type WireguardLink } from "../../state/resource.ts";
import type { Lease } from "../../subnet/lease.ts";
import type { DeviceIdentity } from "../../subnet/lease_store.ts";
import { advertisedAddresses } from "../../overlay/advertised_addresses.ts";
import type { Backend, BackendHost, BackendModule } from "../../overlay/backend.ts";
import type { NodeInput } from "../../overlay/node_input.ts";
import type { ExternalInterface } from "../../host/external_interface.ts";
import { ipv6MtuProblem, requireIpv6Mtu } from "../../overlay/ipv6_mtu.ts";
import { ipv6Enabled, networkRoute, nodeAddress } from "../../overlay/node_entries.ts";
import { InvalidPeerError, jsonMember, requireBackendType } from "../../overlay/peer_lease.ts";
import { BackendError } from "../../overlay/backend_error.ts";
import { choosePrivateKey, keyFilePath } from "./identity.ts";
import { publicKeyOf } from "./key_pair.ts";
import {
  mergePeerData,
  type Mode,
  type PeerData,
  readPeerData,
  underlayFamily,
} from "./peer_data.ts";
import { WIREGUARD, WIREGUARD_DEVICES } from "./wireguard_descriptor.ts";

/** Pre-shared key of all sessions, the same on all nodes; optional. */
const PSK: OptionSpec<WireguardKey | ""> = {
  default: "",
  accepted: "a key of 32 bytes in base64, as wg genpsk prints",
  isSecret: true,
  parse: (value) => {
    if (value === "" || value === ZERO_KEY) return "";
    return typeof value === "string" ? parseWireguardKey(value) : undefined;
  },
};

export const OPTIONS = {
  PSK,
  ListenPort: integerOption({ default: 51820, min: 1, max: 65535 }),
  /** Port of the IPv6 device in the mode "separate". */
  ListenPortV6: integerOption({ default: 51821, min: 1, max: 65535 }),
  /**
   * MTU of the underlay in bytes, by default the external interface's; the overhead is subtracted.
   */
  MTU: integerOption({ default: undefined, min: 200, max: 65535 }),
  Mode: stringOption({ default: "separate", choices: ["separate", "auto", "ipv4", "ipv6"] }),
  /** In seconds; 0 means never. */
  PersistentKeepaliveInterval: integerOption({ default: 0, min: 0, max: 65535 }),
};

type Options = OptionValues<typeof OPTIONS>;

/** IPv6 40 (IPv4 20), UDP 8, and of WireGuard: type 4, key index 4, counter 8, tag 16. */
const OVERHEAD_BYTES = 80;

const wireguard: BackendModule = {
  checkConfig: readConfig,
  options: OPTIONS,
  mtuBytes: (config, external) => wireguardMtuBytes(readConfig(config, NO_WARNINGS), external),
  async prepare(host) {
    const options = readConfig(host.config, host.log);
    const problem = externalProblem(host.config.families, { ...options, external: host.external });
    if (problem !== undefined) throw new BackendError(problem);
    const publicAddresses = advertisedAddresses(host);
    const implementation = await chooseImplementation(host);
    const privateKey = await choosePrivateKey(host, WIREGUARD_DEVICES);
    return new WireguardBackend({
      options,
      networks: host.config.families,
      publicAddresses,
      implementation,
      privateKey,
      keyFile: keyFilePath(host),
    });
  },
};

export default wireguard;

interface WireguardSetup {
  readonly options: Options;
  readonly networks: PerFamily<FamilyNetwork>;
  readonly publicAddresses: PerFamily<IpAddress>;
  readonly implementation: WireguardLink["implementation"];
  readonly privateKey: WireguardKey;
  /** Path of the file with `privateKey`. */
  readonly keyFile: string;
}

class WireguardBackend implements Backend {
  readonly type = WIREGUARD.type;
  readonly attributes: Backend["attributes"];
  readonly identity: DeviceIdentity;
  readonly needsReachability = false;
  readonly routesNetwork = true;
  readonly #setup: WireguardSetup;
  readonly #publicKey: WireguardKey;

  constructor(setup: WireguardSetup) {
    this.#setup = setup;
    this.#publicKey = publicKeyOf(setup.privateKey);
    this.identity = deviceIdentity(this.#publicKey, setup.keyFile);
    this.attributes = {
      publicAddresses: setup.publicAddresses,
      backendType: WIREGUARD.type,
      backendData: mapFamilies(setup.networks, (_, family) => ({
        PublicKey: this.#publicKey,
        Port: this.#listenPort(this.#deviceFor(family)),
      })),
    };
  }

  /** Both devices in every mode, since the mode may have been another one before a restart. */
  ownership(external: ExternalInterface): Ownership {
    const { networks } = this.#setup;
    return {
      links: new Set(WIREGUARD_DEVICES),
      linkTypes: new Set(["wireguard"]),
      networks: valuesOf(networks).map(({ network }) => network),
      routeLink: external.name,
      extraKinds: ["wireguard-device", "wireguard-peer"],
    };
  }

  mtuBytes(external: ExternalInterface): number {
    return wireguardMtuBytes(this.#setup.options, external);
  }

  externalProblem(external: ExternalInterface): string | undefined {
    return externalProblem(this.#setup.networks, { MTU: this.#setup.options.MTU, external });
  }

  node({ own, external }: NodeInput): Resource[] {
    const networks = entriesOf(this.#setup.networks);
    const devices = new Set(networks.map(([family]) => this.#deviceFor(family)));
    // On a device that cannot carry IPv6 the kernel would reject the address and the route.
    const hasRoom = this.externalProblem(external) === undefined;
    const carried = networks.filter(([family]) => family === 4 || hasRoom);
    return [
      ...[...devices].flatMap((name) => this.#deviceEntries(name, external)),
      ...carried.flatMap(([family, { network }]) => this.#networkEntries(own, network, family)),
    ];
  }

  peer(peer: Lease, { external }: NodeInput): Resource[] {
    requireBackendType(peer, WIREGUARD.type);
    const { networks, options } = this.#setup;
    const data = readPeerData(peer, familiesOf(networks), this.#publicKey);
    const families = familiesOf(data);
    const mode = options.Mode as Mode;
    if (mode === "separate") {
      return entriesOf(data).map(([family, one]) =>
        this.#peerEntry(peer, one, { families: [family], underlay: family })
      );
    }
    if (families.length === 0) return [];
    const { publicAddresses } = peer.attributes;
    const underlay = underlayFamily(mode, { own: external.publicAddresses, peer: publicAddresses });
    const merged = mergePeerData(data, options.ListenPortV6);
    return [this.#peerEntry(peer, merged, { families, underlay })];
  }

  /** The peer with these of its families, over one underlay family. */
  #peerEntry(
    peer: Lease,
    { publicKey, port }: PeerData,
    { families, underlay }: { readonly families: readonly Family[]; readonly underlay: Family },
  ): Resource {
    const { options } = this.#setup;
    const link = this.#deviceFor(underlay);
    const address = peer.attributes.publicAddresses[underlay];
    if (address === undefined) {
      throw new InvalidPeerError(`it has no public IPv${underlay} address`);
    }
    const defect = nonUnicastKind(address);
    if (defect !== undefined) {
      throw new InvalidPeerError(`its public address ${address} is ${defect}`);
    }
    return {
      kind: "wireguard-peer",
      link,
      publicKey,
      ...(options.PSK ? { presharedKey: options.PSK } : {}),
      endpoint: { address, port: port ?? this.#listenPort(link) },
      keepaliveSeconds: options.PersistentKeepaliveInterval,
      allowedIps: entriesOf(peer.subnets).filter(([family]) => families.includes(family))
        .map(([, subnet]) => subnet).toSorted(),
    };
  }

  #deviceEntries(name: string, external: ExternalInterface): Resource[] {
    const { implementation, privateKey } = this.#setup;
    const listenPort = this.#listenPort(name);
    return [
      {
        kind: "link",
        type: "wireguard",
        name,
        mtuBytes: this.mtuBytes(external),
        mac: NO_MAC,
        up: true,
        implementation,
      },
      { kind: "wireguard-device", link: name, privateKey, listenPort },
    ];
  }

  #networkEntries(own: Lease, network: Prefix, family: Family): Resource[] {
    const link = this.#deviceFor(family);
    return [
      ...(family === 6 ? [ipv6Enabled(link)] : []),
      ...nodeAddress(own, link, family),
      networkRoute(network, link),
    ];
  }

  /** The device for packets of this family. */
  #deviceFor(family: Family): string {
    return WIREGUARD_DEVICES[this.#setup.options.Mode === "separate" && family === 6 ? 1 : 0];
  }

  #listenPort(device: string): number {
    const { ListenPort, ListenPortV6 } = this.#setup.options;
    return device === WIREGUARD_DEVICES[0] ? ListenPort : ListenPortV6;
  }
}

/** The public key, since a device can have only one peer with it. */
function deviceIdentity(publicKey: WireguardKey, keyFile: string): DeviceIdentity {
  return {
    texts: [publicKey],
    matchIn: ({ backendType, backendData }) => {
      if (backendType.toLowerCase() !== WIREGUARD.type) return undefined;
      const carries = FAMILIES.some((family) =>
        jsonMember(backendData[family], "PublicKey") === publicKey
      );
      return carries ? `PublicKey ${publicKey}` : undefined;
    },
    remedy: `delete the key file and the devices (rm ${keyFile}; ${
      WIREGUARD_DEVICES.map((name) => `ip link delete ${name}`).join("; ")
    })`,
  };
}

async function chooseImplementation(
  { wireguardSupport, log }: BackendHost,
): Promise<WireguardLink["implementation"]> {
  const support = await wireguardSupport();
  if (support === undefined) {
    throw new BackendError(
      'this kernel does not support WireGuard; run "modprobe wireguard" (some distributions have ' +
        "the module in a separate package such as linux-modules-extra), or install wireguard-go, " +
        "which runs in user space",
    );
  }
  if (support === "kernel") return "kernel";
  log.warn(
    `this kernel does not support WireGuard (modprobe wireguard); using ${support.userspace} in ` +
      "user space, which is slower",
  );
  return "userspace";
}

function wireguardMtuBytes(
  { MTU }: Options,
  external: Pick<ExternalInterface, "mtuBytes">,
): number {
  return (MTU ?? external.mtuBytes) - OVERHEAD_BYTES;
}

function readConfig({ backend, families }: NetworkConfig, log: Pick<Log, "warn">): Options {
  const options = readOptions(backend.options, OPTIONS, log);
  const { Mode, MTU, ListenPort, ListenPortV6 } = options;
  const needed = Mode === "ipv4" ? 4 : Mode === "ipv6" ? 6 : undefined;
  if (needed !== undefined && families[needed] === undefined) {
    throw new ConfigError(
      `Mode ${JSON.stringify(Mode)} needs IPv${needed} between the nodes, and the network has no ` +
        `IPv${needed}; remove Mode, or enable both families`,
      { key: "Mode" },
    );
  }
  if (Mode === "separate" && families[4] && families[6] && ListenPort === ListenPortV6) {
    throw new ConfigError(
      `ListenPort and ListenPortV6 are both ${ListenPort}; the two devices of the mode ` +
        '"separate" need different ports',
      { key: "ListenPortV6" },
    );
  }
  if (families[6] !== undefined) requireIpv6Mtu(MTU, OVERHEAD_BYTES);
  return options;
}

/** The option `MTU` replaces the interface's; `readConfig` has rejected one that is too small. */
function externalProblem(
  networks: PerFamily<FamilyNetwork>,
  { MTU, external }: { readonly MTU: number | undefined; readonly external: ExternalInterface },
): string | undefined {
  if (networks[6] === undefined || MTU !== undefined) return undefined;
  return ipv6MtuProblem(external, OVERHEAD_BYTES);
}
