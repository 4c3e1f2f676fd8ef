/**
 * The text protocol of WireGuard in user space
 * (https://www.wireguard.com/xplatform/): lines of `key=value`, ended by an empty one.
 */

import { parseIpAddress } from "../../addr/ip.ts";
import { parsePrefixMasked, type Prefix } from "../../addr/prefix.ts";
import {
  type WireguardKey,
  wireguardKeyBytes,
  wireguardKeyFromBytes,
  ZERO_KEY,
} from "../../addr/wireguard_key.ts";
import type { WireguardEndpoint } from "../../state/resource.ts";
import { endpointText } from "../../state/resource_text.ts";
import {
  type DeviceChange,
  type PeerChange,
  type WireguardDeviceState,
} from "./wireguard_driver.ts";

/** Requests all attributes of a device. */
export const GET_REQUEST = "get=1\n\n";

export interface GetReply extends Omit<WireguardDeviceState, "identity"> {
  /** 0 is success; the sign depends on the implementation. */
  readonly errno: number;
}

/** Reads the response to a get request. Unknown keys and invalid values are left out. */
export function parseGetReply(text: string): GetReply {
  let errno = NO_ERRNO;
  let privateKey: WireguardKey | undefined;
  let listenPort = 0;
  const peers: Peer[] = [];
  /** `undefined` for a peer with an invalid key, whose lines are skipped. */
  let peer: Peer | undefined;
  for (const line of text.split("\n")) {
    const equals = line.indexOf("=");
    const value = line.slice(equals + 1);
    switch (line.slice(0, Math.max(equals, 0))) {
      case "errno":
        errno = Math.abs(parseNumber(value) ?? NO_ERRNO);
        break;
      case "private_key":
        privateKey = parseHexKey(value);
        break;
      case "listen_port":
        listenPort = parsePort(value) ?? 0;
        break;
      case "public_key": {
        const publicKey = parseHexKey(value);
        peer = publicKey &&
          { publicKey, keepaliveSeconds: 0, lastHandshakeMs: 0, allowedIps: [] };
        if (peer !== undefined) peers.push(peer);
        break;
      }
      default:
        if (peer !== undefined) readPeerLine(peer, line.slice(0, Math.max(equals, 0)), value);
    }
  }
  for (const { allowedIps } of peers) allowedIps.sort();
  return { errno, ...(privateKey === undefined ? {} : { privateKey }), listenPort, peers };
}

/** The errno of the response to a set request, as a positive number; 0 is success. */
export function parseSetReply(text: string): number {
  const [, value] = /^errno=(-?\d{1,9})$/m.exec(text) ?? [];
  return value === undefined ? NO_ERRNO : Math.abs(Number(value));
}

export function setRequest({ privateKey, listenPort, peers = [] }: DeviceChange): string {
  const lines = ["set=1"];
  if (privateKey !== undefined) lines.push(`private_key=${hexKey(privateKey)}`);
  if (listenPort !== undefined) lines.push(`listen_port=${listenPort}`);
  for (const peer of peers) addPeerLines(lines, peer);
  return `${lines.join("\n")}\n\n`;
}

interface Peer {
  readonly publicKey: WireguardKey;
  presharedKey?: WireguardKey;
  endpoint?: WireguardEndpoint;
  keepaliveSeconds: number;
  lastHandshakeMs: number;
  readonly allowedIps: Prefix[];
}

/** EPROTO, for a response without an errno. */
const NO_ERRNO = 71;

function readPeerLine(peer: Peer, key: string, value: string): void {
  switch (key) {
    case "preshared_key": {
      const presharedKey = parseHexKey(value);
      if (presharedKey !== undefined) peer.presharedKey = presharedKey;
      break;
    }
    case "endpoint": {
      const endpoint = parseEndpoint(value);
      if (endpoint !== undefined) peer.endpoint = endpoint;
      break;
    }
    case "persistent_keepalive_interval":
      peer.keepaliveSeconds = parsePort(value) ?? 0; // 16 bits as well
      break;
    case "last_handshake_time_sec":
      peer.lastHandshakeMs += 1000 * (parseNumber(value) ?? 0);
      break;
    case "last_handshake_time_nsec":
      peer.lastHandshakeMs += (parseNumber(value) ?? 0) / 1e6;
      break;
    case "allowed_ip": {
      const prefix = parsePrefixMasked(value);
      if (prefix !== undefined) peer.allowedIps.push(prefix);
      break;
    }
  }
}

function addPeerLines(lines: string[], peer: PeerChange): void {
  lines.push(`public_key=${hexKey(peer.publicKey)}`);
  if (peer.op === "remove") {
    lines.push("remove=true");
    return;
  }
  if (peer.updateOnly) lines.push("update_only=true");
  lines.push(`preshared_key=${hexKey(peer.presharedKey)}`);
  if (peer.endpoint !== undefined) lines.push(`endpoint=${endpointText(peer.endpoint)}`);
  lines.push(`persistent_keepalive_interval=${peer.keepaliveSeconds}`);
  if (peer.replaceAllowedIps) lines.push("replace_allowed_ips=true");
  for (const prefix of peer.allowedIps) lines.push(`allowed_ip=${prefix}`);
}

function hexKey(key: WireguardKey): string {
  return wireguardKeyBytes(key).toHex();
}

/** `undefined` if invalid, and for the zero key, which stands for none. */
function parseHexKey(text: string): WireguardKey | undefined {
  if (!/^[0-9a-fA-F]{64}$/.test(text)) return undefined;
  const key = wireguardKeyFromBytes(Uint8Array.fromHex(text));
  return key === ZERO_KEY ? undefined : key;
}

/** `192.0.2.1:51820`, or `[2001:db8::1]:51820`, which may have a zone or a mapped IPv4 address. */
function parseEndpoint(text: string): WireguardEndpoint | undefined {
  const [, bracketed, plain, portText = ""] =
    /^(?:\[(?:::ffff:(?=[\d.]+\]))?([^\]%]+)(?:%[^\]]*)?\]|([\d.]+)):(\d+)$/.exec(text) ?? [];
  const address = parseIpAddress(bracketed ?? plain ?? "");
  const port = parsePort(portText);
  return address === undefined || port === undefined ? undefined : { address, port };
}

function parsePort(text: string): number | undefined {
  const number = parseNumber(text);
  return number !== undefined && number >= 0 && number <= 65_535 ? number : undefined;
}

/** A decimal integer that a number represents exactly. */
function parseNumber(text: string): number | undefined {
  return /^-?\d{1,15}$/.test(text) ? Number(text) : undefined;
}
