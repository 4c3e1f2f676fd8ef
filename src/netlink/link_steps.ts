/** Making, changing and deleting devices, one at a time. */

import { errnoName } from "../../ffi/errno.ts";
import { assertNever } from "../addr/assert_never.ts";
import type { Link } from "../state/resource.ts";
import type { Step } from "../state/step.ts";
import type { Channel } from "./channel.ts";
import type { Encoder } from "./encoder.ts";
import { KernelError, type StepResult } from "./kernel.ts";
import { findLink } from "./links.ts";
import { describeStep } from "./operation.ts";
import type { Refusal } from "./socket.ts";
import { resultOf, withoutDevice } from "./step_result.ts";

/** Performs a step about a device; nothing may be gathered in the channel. */
export function performLinkStep(channel: Channel<Encoder>, step: Step, link: Link): StepResult {
  if (step.op === "set") return createLink(channel, step, link);
  const ifindex = findLink(channel, link.name)?.ifindex;
  if (ifindex === undefined) return withoutDevice(step, link.name);
  if (step.op === "delete") channel.encoder.deleteLink(ifindex);
  else channel.encoder.changeLink(ifindex, step.from, step.resource);
  return resultOf(step, withHint(link, channel.send().get(0)));
}

function createLink(channel: Channel<Encoder>, step: Step, link: Link): StepResult {
  switch (link.type) {
    case "vxlan": {
      const underlay = findLink(channel, link.underlay)?.ifindex;
      if (underlay === undefined) return withoutDevice(step, link.underlay);
      channel.encoder.createVxlan(link, underlay);
      return resultOf(step, withHint(link, channel.send().get(0)));
    }
    case "wireguard":
      channel.encoder.createWireguard(link);
      return resultOf(step, channel.send().get(0));
    case "ipip":
      channel.encoder.createIpip(link);
      return resultOf(step, withHint(link, channel.send().get(0)));
    case "tun":
    case "other": {
      const kind = link.type === "other" ? link.linkKind || "hardware" : link.type;
      return new KernelError(
        describeStep(step),
        "EOPNOTSUPP",
        `${kind} devices are not made here`,
      );
    }
    default:
      return assertNever(link);
  }
}

/**
 * What the kernel refuses without saying why: a type whose module could not be loaded; an ipip device
 * with the ends of another one, whatever their names are (ip_tunnel_newlink); a vxlan device, when it
 * goes up, whose port a program has (vxlan_open).
 */
function withHint(link: Link, refusal: Refusal | undefined): Refusal | undefined {
  if (refusal === undefined) return undefined;
  const code = errnoName(refusal.errno);
  if (link.type === "vxlan" && code === "EADDRINUSE") {
    const port = link.port || VXLAN_PORT;
    const extack =
      `a program on this host uses UDP port ${port}; "ss -ulnp sport = :${port}" shows it`;
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

/** The kernel's default: net/vxlan, parameter `udp_port`. */
const VXLAN_PORT = 8472;
