/** Creates, changes and deletes devices, one at a time. */

import { errnoName } from "../../../ffi/errno.ts";
import type { Link } from "../../state/resource.ts";
import type { Step } from "../../state/step.ts";
import { describeStep } from "../table/entry_operation.ts";
import { resultOf, type StepResult, withoutDevice } from "../table/step_result.ts";
import type { Channel } from "../wire/channel.ts";
import { KernelError } from "../wire/kernel_error.ts";
import type { NetlinkRefusal } from "../wire/netlink_socket.ts";
import { linkCodecOf } from "./link_codecs.ts";
import { decodeLink } from "./link_decoder.ts";
import { changeLink, deleteLink, dumpLinks } from "./link_messages.ts";
import { findLink } from "./links.ts";
import type { RtnetlinkEncoder } from "./rtnetlink_encoder.ts";

/** Performs a step for a device. The channel may hold no gathered messages. */
export function performLinkStep(
  channel: Channel<RtnetlinkEncoder>,
  step: Step,
  link: Link,
): StepResult {
  if (step.op === "set") return create(channel, step, link);
  const ifindex = findLink(channel, link.name)?.ifindex;
  if (ifindex === undefined) return withoutDevice(step, link.name);
  if (step.op === "delete") deleteLink(channel.encoder, ifindex);
  else changeLink(channel.encoder, ifindex, { from: step.from, to: step.resource });
  return send(channel, step, link);
}

function create(channel: Channel<RtnetlinkEncoder>, step: Step, link: Link): StepResult {
  const creation = linkCodecOf(link)?.creation;
  if (creation === undefined) {
    const kind = link.type === "other" ? link.linkKind || "hardware" : link.type;
    return new KernelError({
      operation: describeStep(step),
      errno: "EOPNOTSUPP",
      extack: `rtnetlink cannot create ${kind} devices`,
    });
  }
  const underlay = creation.underlayOf?.(link);
  const underlayIndex = underlay === undefined ? 0 : findLink(channel, underlay)?.ifindex;
  if (underlayIndex === undefined) return withoutDevice(step, underlay ?? "");
  creation.append(channel.encoder, link, underlayIndex);
  return send(channel, step, link);
}

/** Sends the message of one step. */
function send(channel: Channel<RtnetlinkEncoder>, step: Step, link: Link): StepResult {
  const refusal = channel.send().get(0);
  return resultOf(step, refusal && withHint(channel, link, refusal), ABSENT_ERRNOS);
}

/** Errno names with which the kernel refuses to delete an absent device. */
const ABSENT_ERRNOS: ReadonlySet<string> = new Set(["ENODEV"]);

/** The refusal, with a hint at its cause if there is one. */
function withHint(
  channel: Channel<RtnetlinkEncoder>,
  link: Link,
  refusal: NetlinkRefusal,
): NetlinkRefusal {
  const { errno, extack } = refusal;
  const refused = { errno: errnoName(errno), extack };
  const hint = linkCodecOf(link)?.creation?.hint?.(link, refused, () => readLinks(channel));
  return hint === undefined ? refusal : { errno, extack: hint };
}

function readLinks(channel: Channel<RtnetlinkEncoder>): Link[] {
  const links: Link[] = [];
  channel.readTable(dumpLinks, (message) => {
    const decoded = decodeLink(message);
    if (decoded !== undefined) links.push(decoded.link);
  });
  return links;
}
