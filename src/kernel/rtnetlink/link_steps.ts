/** Making, changing and deleting devices, one at a time. */

import { errnoName } from "../../../ffi/errno.ts";
import { assertNever } from "../../base/assert_never.ts";
import { udpPortTaken } from "../../process/udp_port.ts";
import { type Link, VXLAN_DEFAULT_PORT, type VxlanLink } from "../../state/resource.ts";
import type { Step } from "../../state/step.ts";
import type { Channel } from "../wire/channel.ts";
import { decodeLink } from "./decoder.ts";
import type { Encoder } from "./encoder.ts";
import type { StepResult } from "../table/step_result.ts";
import { KernelError } from "../wire/kernel_error.ts";
import { findLink } from "./links.ts";
import { describeStep } from "../table/entry_operation.ts";
import type { NetlinkRefusal } from "../wire/netlink_socket.ts";
import { resultOf, withoutDevice } from "../table/step_result.ts";

/** Performs a step about a device; nothing may be gathered in the channel. */
export function performLinkStep(channel: Channel<Encoder>, step: Step, link: Link): StepResult {
  if (step.op === "set") return createLink(channel, step, link);
  const ifindex = findLink(channel, link.name)?.ifindex;
  if (ifindex === undefined) return withoutDevice(step, link.name);
  if (step.op === "delete") channel.encoder.deleteLink(ifindex);
  else channel.encoder.changeLink(ifindex, step.from, step.resource);
  return resultOf(step, withHint(channel, link, channel.send().get(0)));
}

function createLink(channel: Channel<Encoder>, step: Step, link: Link): StepResult {
  switch (link.type) {
    case "vxlan": {
      const underlay = findLink(channel, link.underlay)?.ifindex;
      if (underlay === undefined) return withoutDevice(step, link.underlay);
      channel.encoder.createVxlan(link, underlay);
      return resultOf(step, withHint(channel, link, channel.send().get(0)));
    }
    case "wireguard":
      channel.encoder.createWireguard(link);
      return resultOf(step, withHint(channel, link, channel.send().get(0)));
    case "ipip":
      channel.encoder.createIpip(link);
      return resultOf(step, withHint(channel, link, channel.send().get(0)));
    case "tun":
    case "other": {
      const kind = link.type === "other" ? link.linkKind || "hardware" : link.type;
      return new KernelError({
        operation: describeStep(step),
        errno: "EOPNOTSUPP",
        extack: `${kind} devices are not made here`,
      });
    }
    default:
      return assertNever(link);
  }
}

/**
 * Hints for refusals without a reason: a type whose module could not be loaded; an ipip device
 * with the ends of another one, whatever their names are (ip_tunnel_newlink); a vxlan device with the
 * VNI and the port of another one (vxlan_config_validate), or, when it goes up, with a port that
 * something else has (vxlan_open).
 */
function withHint(
  channel: Channel<Encoder>,
  link: Link,
  refusal: NetlinkRefusal | undefined,
): NetlinkRefusal | undefined {
  if (refusal === undefined) return undefined;
  const code = errnoName(refusal.errno);
  if (link.type === "vxlan" && code === "EADDRINUSE") {
    return { ...refusal, extack: portHint(link, otherVxlans(channel, link)) };
  }
  if (link.type === "wireguard" && code === "EADDRINUSE") {
    // The port was set while the device was down; this step does not know it.
    const option = link.name.endsWith("-v6") ? "ListenPortV6" : "ListenPort";
    const extack =
      `its UDP port is in use ("ss -ulnp" shows by what); set ${option} in the Backend object to a ` +
      "port that is free on every node";
    return { ...refusal, extack };
  }
  if (link.type === "vxlan" && code === "EEXIST") {
    const conflicting = otherVxlans(channel, link).find(({ vni }) => vni === link.vni);
    if (conflicting === undefined) return refusal;
    const extack =
      `the device ${conflicting.name} has VNI ${link.vni} on UDP port ${portOf(link)}; ` +
      `delete it if nothing needs it (ip link del ${conflicting.name}), or set another VNI in the ` +
      "Backend object";
    return { ...refusal, extack };
  }
  if (link.type === "ipip" && code === "EEXIST") {
    const extack =
      "there is a device of this name, or another tunnel from this address to any other";
    return { extack, ...refusal };
  }
  if ((link.type === "ipip" || link.type === "vxlan") && code === "EOPNOTSUPP") {
    const extack =
      `this kernel has no ${link.type} tunnels; load them with "modprobe ${link.type}"`;
    return { ...refusal, extack };
  }
  return refusal;
}

/** Vxlan devices can share a port only if their options are equal, such as `external` or `gbp`. */
function portHint(link: VxlanLink, others: readonly VxlanLink[]): string {
  const taken = udpPortTaken(portOf(link), "Port");
  const conflicting = others.find(({ name, up }) => up && !name.startsWith("flannel"));
  if (taken.startsWith("a program") || conflicting === undefined) return taken;
  return `the device ${conflicting.name} has UDP port ${
    portOf(link)
  } with other options; delete it if ` +
    `nothing needs it (ip link del ${conflicting.name}), or set Port in the Backend object to a port ` +
    "that is free on every node";
}

/** The other vxlan devices with the same port. */
function otherVxlans(channel: Channel<Encoder>, link: VxlanLink): VxlanLink[] {
  const found: VxlanLink[] = [];
  channel.readTable((encoder) => encoder.dump("link", 0, 0), (message) => {
    const other = decodeLink(message)?.link;
    if (other?.type !== "vxlan" || other.name === link.name) return;
    if (portOf(other) === portOf(link)) found.push(other);
  });
  return found;
}

function portOf({ port }: VxlanLink): number {
  return port || VXLAN_DEFAULT_PORT;
}
