/** The interface to implementations of WireGuard: the kernel's, and those in user space. */

import type { Prefix } from "../../addr/prefix.ts";
import type { WireguardKey } from "../../addr/wireguard_key.ts";
import { udpPortTaken } from "../../process/udp_port.ts";
import type { WireguardEndpoint } from "../../state/resource.ts";

/** Reads and writes the devices of one implementation. */
export interface WireguardDriver extends Disposable {
  /** `undefined` if this implementation has no such device. Throws `KernelError`. */
  read(link: string): Promise<WireguardDeviceState | undefined>;

  /**
   * Performs the changes in order until one fails. `ENODEV` if the device is no longer the one that
   * was read with this identity.
   */
  write(link: string, identity: number, change: DeviceChange): Promise<Fault | undefined>;
}

export interface WireguardDeviceState {
  /** Changes if the device is recreated under the same name. */
  readonly identity: number;
  readonly privateKey?: WireguardKey;
  readonly listenPort: number;
  readonly peers: readonly WireguardPeerState[];
}

export interface WireguardPeerState {
  readonly publicKey: WireguardKey;
  readonly presharedKey?: WireguardKey;
  readonly endpoint?: WireguardEndpoint;
  readonly keepaliveSeconds: number;
  /** Wall-clock time of the last handshake in milliseconds; 0 if there was none. */
  readonly lastHandshakeMs: number;
  readonly allowedIps: readonly Prefix[];
}

/** A change of a device. Absent properties stay as they are. */
export interface DeviceChange {
  /** `ZERO_KEY` for none. */
  readonly privateKey?: WireguardKey;
  readonly listenPort?: number;
  readonly peers?: readonly PeerChange[];
}

export type PeerChange =
  | { readonly op: "remove"; readonly publicKey: WireguardKey }
  | {
    readonly op: "set";
    readonly publicKey: WireguardKey;
    /** `ZERO_KEY` for none. */
    readonly presharedKey: WireguardKey;
    /** Absent: the endpoint stays as it is. */
    readonly endpoint?: WireguardEndpoint;
    readonly keepaliveSeconds: number;
    /** An absent peer is not created. */
    readonly updateOnly: boolean;
    /** To be added; another peer that has one of them loses it. */
    readonly allowedIps: readonly Prefix[];
    /** The peer loses all that it had before. */
    readonly replaceAllowedIps: boolean;
  };

/** Why a change failed. */
export interface Fault {
  /** Errno name. */
  readonly errno: string;
  readonly reason?: string;
}

/** Says that a port is in use, and which option sets it. The device for IPv6 has its own option. */
export function listenPortTaken(link: string, port: number): string {
  return udpPortTaken(port, link.endsWith("-v6") ? "ListenPortV6" : "ListenPort");
}
