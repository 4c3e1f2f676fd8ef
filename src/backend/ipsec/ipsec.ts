/**
 * ipsec: the kernel encrypts each packet between nodes (ESP in tunnel mode, RFC 4303);
 * strongSwan's charon negotiates the keys (IKEv2, RFC 7296).
 *
 * The journey of a packet from a workload at 10.5.1.7 on node A (192.168.0.1) to one at 10.5.2.9
 * on node B (192.168.0.2, subnet 10.5.2.0/24), with the entry that decides each hop:
 *
 *   1. The workload's DEFAULT ROUTE sends it to A's bridge, and A's DEFAULT ROUTE to the external
 *      interface, like any other packet: ipsec has neither a device nor routes.
 *   2. On A the POLICY `src 10.5.1.0/24 dst 10.5.2.0/24 dir out` requires an ESP tunnel
 *      `src 192.168.0.1 dst 192.168.0.2 reqid 11`. Without a tunnel the packet is dropped, never
 *      sent in plain text.
 *   3. The SECURITY ASSOCIATION with these addresses and this reqid, which the two charons have
 *      negotiated, encrypts it and adds the outer header.
 *   4. On B the SECURITY ASSOCIATION of the packet's SPI decrypts it. The POLICY
 *      `src 10.5.1.0/24 dst 10.5.2.0/24 dir fwd` forwards it to the workload, because it came
 *      through the tunnel. The POLICY with `dir in` does the same for packets to B itself.
 *
 * So B drops plain packets that claim to come from 10.5.1.0/24. The policies are kernel entries,
 * which the reconciler repairs; a target maintains charon's connections.
 */

import type { Family, IpAddress } from "../../addr/ip.ts";
import type { PerFamily } from "../../addr/family.ts";
import type { Prefix } from "../../addr/prefix.ts";
import { ConfigError } from "../../config/config_error.ts";
import type { NetworkConfig } from "../../config/network_config.ts";
import {
  booleanOption,
  NO_WARNINGS,
  type OptionValues,
  readOptions,
  stringOption,
} from "../../config/option_schema.ts";
import type { Log } from "../../log/log.ts";
import { XFRM_REQID, type XfrmPolicy } from "../../state/resource.ts";
import type { Lease } from "../../subnet/lease.ts";
import { advertisedAddresses } from "../../overlay/advertised_addresses.ts";
import type { Backend, BackendHost, BackendModule } from "../../overlay/backend.ts";
import type { NodeInput } from "../../overlay/node_input.ts";
import type { ExternalInterface } from "../../host/external_interface.ts";
import { ipv4Network } from "../../overlay/ipv4_network.ts";
import {
  InvalidPeerError,
  peerAddress,
  requireBackendType,
  tunnelEnd,
} from "../../overlay/peer_lease.ts";
import { SOCKET_VARIABLE } from "./charon_paths.ts";
import { CharonTarget, type CharonTargetOptions } from "./charon_target.ts";
import { type CharonConnection, connectionOf } from "./charon_connection.ts";
import { claimDirectory } from "./directory_claim.ts";
import { EspCheck } from "./esp_check.ts";
import { firstCharon } from "./first_charon.ts";
import { IPSEC, PSK_MIN_BYTES } from "./ipsec_descriptor.ts";

export const OPTIONS = {
  /** The pre-shared key of all nodes, at least 96 bytes. */
  PSK: stringOption({ default: "", secret: true }),
  /** Encapsulates ESP in UDP even without address translation. */
  UDPEncap: booleanOption({ default: false }),
  /** Algorithms of the tunnels in strongSwan's notation. */
  ESPProposal: stringOption({ default: "aes128gcm16-sha256-prfsha256-ecp256" }),
};

type Options = OptionValues<typeof OPTIONS>;

/** Only IPv4, as in Go flannel. */
const FAMILY: Family = 4;
/**
 * The most that ESP adds, with any proposal: outer IPv4 header 20, SPI and sequence number 8,
 * initialization vector 16, padding 15, its length and the next header 2, checksum 16.
 */
const OVERHEAD_BYTES = 20 + 8 + 16 + 15 + 2 + 16;
const UDP_HEADER_BYTES = 8;

const ipsec: BackendModule = {
  checkConfig: readConfig,
  options: OPTIONS,
  mtuBytes: (config, external) => ipsecMtuBytes(readConfig(config, NO_WARNINGS), external),
  async prepare(host) {
    const options = readConfig(host.config, host.log);
    const { runDirectory, env, clock, log, stop } = host;
    const publicAddresses = advertisedAddresses(host);
    const network = ipv4Network(host.config);
    const charon = { runDirectory, env, clock, log };
    const { ESPProposal: espProposal } = options;
    using undo = new DisposableStack();
    const states = undo.use(host.openXfrmStates());
    const esp = new EspCheck({ family: FAMILY, states, clock, log });
    const claim = undo.use(await claimCharon(host));
    const first = await firstCharon(charon, { espProposal, stop });
    undo.move();
    return new IpsecBackend({ options, network, publicAddresses }, {
      charon,
      claim,
      esp,
      first,
      states,
    });
  },
};

export default ipsec;

/** A charon that the operator runs may serve several daemons, for different networks. */
async function claimCharon(
  { runDirectory, env, log, clock, stop }: BackendHost,
): Promise<Disposable> {
  if (env[SOCKET_VARIABLE]) return { [Symbol.dispose]: () => undefined };
  return await claimDirectory(runDirectory, { log, clock, stop });
}

interface IpsecSetup {
  readonly options: Options;
  readonly network: Prefix;
  readonly publicAddresses: PerFamily<IpAddress>;
}

class IpsecBackend implements Backend {
  readonly type = IPSEC.type;
  readonly attributes: Backend["attributes"];
  readonly needsReachability = false;
  readonly target: CharonTarget;
  readonly #setup: IpsecSetup;

  constructor(
    setup: IpsecSetup,
    given: Pick<CharonTargetOptions, "charon" | "claim" | "esp" | "first" | "states">,
  ) {
    this.#setup = setup;
    const { publicAddresses, network } = setup;
    this.attributes = { publicAddresses, backendType: IPSEC.type, backendData: {} };
    this.target = new CharonTarget({
      ...given,
      network,
      connection: (peer, input) => this.#connection(peer, input),
      clock: given.charon.clock,
      log: given.charon.log,
    });
  }

  ownership(external: ExternalInterface): ReturnType<Backend["ownership"]> {
    return {
      links: new Set(),
      linkTypes: new Set(),
      networks: [this.#setup.network],
      routeLink: external.name,
      extraKinds: ["xfrm-policy"],
    };
  }

  mtuBytes(external: ExternalInterface): number {
    return ipsecMtuBytes(this.#setup.options, external);
  }

  node(): [] {
    return [];
  }

  peer(peer: Lease, { own, external }: NodeInput): XfrmPolicy[] {
    requireBackendType(peer, IPSEC.type);
    const local = {
      subnet: own.subnets[FAMILY] as Prefix,
      address: external.sourceAddresses[FAMILY] as IpAddress,
    };
    const remote = { subnet: peerSubnet(peer), address: tunnelEnd(peer, FAMILY, external) };
    return [
      policy("out", local, remote),
      policy("in", remote, local),
      policy("fwd", remote, local),
    ];
  }

  #connection(peer: Lease, { own, external }: NodeInput): CharonConnection {
    const { network, options } = this.#setup;
    return connectionOf(
      {
        publicAddress: external.publicAddresses[FAMILY] as IpAddress,
        localAddress: external.sourceAddresses[FAMILY] as IpAddress,
        subnet: own.subnets[FAMILY] as Prefix,
      },
      { publicAddress: peerAddress(peer, FAMILY), subnet: peerSubnet(peer) },
      {
        network,
        psk: options.PSK,
        udpEncapsulation: options.UDPEncap,
        espProposal: options.ESPProposal,
      },
    );
  }
}

interface End {
  readonly subnet: Prefix;
  readonly address: IpAddress;
}

/** Packets from one end to the other have to go through the tunnel between them. */
function policy(direction: XfrmPolicy["direction"], from: End, to: End): XfrmPolicy {
  const tunnel = { source: from.address, destination: to.address, reqid: XFRM_REQID };
  return { kind: "xfrm-policy", direction, source: from.subnet, destination: to.subnet, tunnel };
}

function peerSubnet(peer: Lease): Prefix {
  const subnet = peer.subnets[FAMILY];
  if (subnet === undefined) throw new InvalidPeerError(`it has no IPv${FAMILY} subnet`);
  return subnet;
}

function ipsecMtuBytes(
  { UDPEncap }: Options,
  external: Pick<ExternalInterface, "mtuBytes">,
): number {
  return external.mtuBytes - OVERHEAD_BYTES - (UDPEncap ? UDP_HEADER_BYTES : 0);
}

function readConfig({ backend }: NetworkConfig, log: Pick<Log, "warn">): Options {
  const options = readOptions(backend.options, OPTIONS, log);
  const pskBytes = Buffer.byteLength(options.PSK);
  if (pskBytes < PSK_MIN_BYTES) {
    throw new ConfigError(
      `the PSK of the ipsec backend ${pskBytes === 0 ? "is missing" : `has ${pskBytes} bytes`}` +
        `; it must have at least ${PSK_MIN_BYTES} bytes: generate one with "openssl rand -hex 48"`,
      { key: "PSK" },
    );
  }
  return options;
}
