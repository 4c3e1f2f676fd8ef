/** What the implementations of WireGuard have in common: the kernel's, and those in user space. */

import type { Prefix } from "../../addr/prefix.ts";
import type { WireguardKey } from "../../addr/wireguard_key.ts";
import { udpPortTaken } from "../../process/udp_port.ts";
import type { WireguardEndpoint } from "../../state/resource.ts";

/** One implementation, and how it is spoken to. */
export interface WireguardDriver extends Disposable {
  /** What a device holds; `undefined` if this implementation has no such device. Throws `KernelError`. */
  read(link: string): Promise<WireguardDeviceState | undefined>;

  /**
   * Makes the changes in order. At a fault it stops: those before it are made. `ENODEV` if the device
   * is not the one that was read with this identity.
   */
  write(link: string, identity: number, change: DeviceChange): Promise<Fault | undefined>;
}

export interface WireguardDeviceState {
  /** Another one when the device was made anew under the same name. */
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
  /** When the session was last renewed, in milliseconds of the wall clock; 0 if there was none. */
  readonly lastHandshakeMs: number;
  readonly allowedIps: readonly Prefix[];
}

/** What is not named stays. */
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
    /** A peer that is not there is not made. */
    readonly updateOnly: boolean;
    /** To be added; a peer that has one of them loses it. */
    readonly allowedIps: readonly Prefix[];
    /** All that the peer had before go. */
    readonly replaceAllowedIps: boolean;
  };

/** Why a change was not made. */
export interface Fault {
  /** Errno name. */
  readonly errno: string;
  readonly reason?: string;
}

/** The message for a port that is in use. The device for IPv6 has its own option. */
export function listenPortTaken(link: string, port: number): string {
  return udpPortTaken(port, link.endsWith("-v6") ? "ListenPortV6" : "ListenPort");
}
