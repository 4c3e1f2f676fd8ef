/** Entries as text in the notation of `ip` and `bridge`, for messages, logs and goldens. */

import { familyOf } from "../addr/ip.ts";
import { assertNever } from "../base/assert_never.ts";
import {
  IPV6_DEFAULT_METRIC,
  type Link,
  type Resource,
  type Route,
  RT_TABLE_MAIN,
  type WireguardEndpoint,
  type WireguardPeer,
  type XfrmPolicy,
} from "./resource.ts";

/** One line: the object, then what `ip OBJECT show` would print of it. */
export function resourceText(resource: Resource): string {
  switch (resource.kind) {
    case "link":
      return linkText(resource);
    case "address":
      return `addr ${resource.address}/${resource.prefixLength} dev ${resource.link}`;
    case "neighbour":
      return `neigh ${resource.address} lladdr ${resource.mac} dev ${resource.link} nud permanent`;
    case "fdb":
      return `fdb ${resource.mac} dev ${resource.link} dst ${resource.remote} self permanent`;
    case "route":
      return routeText(resource);
    case "sysctl":
      return `sysctl ${resource.path} = ${resource.value}`;
    case "wireguard-device":
      return `wireguard ${resource.link} listen-port ${resource.listenPort}`;
    case "wireguard-peer":
      return peerText(resource);
    case "fou":
      return `fou port ${resource.port} ipproto ${resource.protocol}`;
    case "xfrm-policy":
      return policyText(resource);
    default:
      return assertNever(resource);
  }
}

function linkText(link: Link): string {
  const isLayer3 = link.type === "wireguard" || link.type === "ipip" || link.type === "tun";
  const base = `link ${link.name}: mtu ${link.mtuBytes} state ${link.up ? "up" : "down"}` +
    (isLayer3 ? "" : ` address ${link.mac}`);
  switch (link.type) {
    case "other":
      return link.linkKind === "" ? base : `${base} type ${link.linkKind}`;
    case "vxlan":
      return `${base} type vxlan id ${link.vni} local ${link.local} dev ${link.underlay} ` +
        `dstport ${link.port} ${link.learning ? "learning" : "nolearning"}${
          link.gbp ? " gbp" : ""
        }`;
    case "wireguard":
      return `${base} type wireguard${link.implementation === "kernel" ? "" : " (user space)"}`;
    case "ipip":
      return `${base} type ipip local ${link.local}` +
        (link.fouPort === undefined
          ? ""
          : ` encap fou encap-sport ${link.fouPort} encap-dport ${link.fouPort}`);
    case "tun":
      return `${base} type tun`;
    default:
      return assertNever(link);
  }
}

/** As `wg` shows it, less the pre-shared key. */
function peerText(peer: WireguardPeer): string {
  const words = [`wireguard ${peer.link} peer ${peer.publicKey}`];
  if (peer.presharedKey !== undefined) words.push("preshared-key (hidden)");
  if (peer.endpoint !== undefined) words.push(`endpoint ${endpointText(peer.endpoint)}`);
  if (peer.keepaliveSeconds > 0) words.push(`persistent-keepalive ${peer.keepaliveSeconds}`);
  words.push(`allowed-ips ${peer.allowedIps.join(",") || "(none)"}`);
  return words.join(" ");
}

function policyText(policy: XfrmPolicy): string {
  const { direction, source, destination, tunnel } = policy;
  const base = `xfrm policy src ${source} dst ${destination} dir ${direction}`;
  if (tunnel === undefined) return base;
  return `${base} tmpl src ${tunnel.source} dst ${tunnel.destination} proto esp ` +
    `reqid ${tunnel.reqid} mode tunnel`;
}

/** `192.0.2.1:51820`, `[2001:db8::1]:51820`. */
export function endpointText({ address, port }: WireguardEndpoint): string {
  return familyOf(address) === 4 ? `${address}:${port}` : `[${address}]:${port}`;
}

function routeText(route: Route): string {
  const words = ["route"];
  if (route.type === "blackhole") words.push("blackhole");
  words.push(route.destination);
  if (route.gateway !== undefined) words.push("via", route.gateway);
  if (route.link !== undefined && route.type !== "blackhole") words.push("dev", route.link);
  if (route.multipath) words.push("multipath");
  words.push("proto", String(route.protocol));
  if (route.scope === "link") words.push("scope", "link");
  if (route.source !== undefined) words.push("src", route.source);
  const defaultMetric = familyOf(route.destination) === 4 ? 0 : IPV6_DEFAULT_METRIC;
  if (route.metric !== defaultMetric) words.push("metric", String(route.metric));
  if (route.onlink) words.push("onlink");
  if (route.table !== RT_TABLE_MAIN) words.push("table", String(route.table));
  return words.join(" ");
}
