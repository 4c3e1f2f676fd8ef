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
  return resultOf(step, channel.send().get(0));
}

function createLink(channel: Channel<Encoder>, step: Step, link: Link): StepResult {
  switch (link.type) {
    case "vxlan": {
      const underlay = findLink(channel, link.underlay)?.ifindex;
      if (underlay === undefined) return withoutDevice(step, link.underlay);
      channel.encoder.createVxlan(link, underlay);
      return resultOf(step, channel.send().get(0));
    }
    case "wireguard":
      channel.encoder.createWireguard(link);
      return resultOf(step, channel.send().get(0));
    case "ipip":
      channel.encoder.createIpip(link);
      return resultOf(step, withTunnelHint(channel.send().get(0)));
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
 * Tunnels of one kind must differ in their ends, whatever their names are (ip_tunnel_newlink); a type
 * is unknown whose module could not be loaded.
 */
function withTunnelHint(refusal: Refusal | undefined): Refusal | undefined {
  if (refusal === undefined) return undefined;
  switch (errnoName(refusal.errno)) {
    case "EEXIST": {
      const extack =
        "there is a device of this name, or another tunnel from this address to any other";
      return { extack, ...refusal };
    }
    case "EOPNOTSUPP":
      return {
        ...refusal,
        extack: 'this kernel has no ipip tunnels; load them with "modprobe ipip"',
      };
    default:
      return refusal;
  }
}
