/**
 * The policies of the kernel's IPsec database, over NETLINK_XFRM (linux/xfrm.h): which packets must
 * pass through a tunnel. charon manages the tunnels themselves, the security associations.
 */

import * as k from "../../../ffi/linux.ts";
import type { Clock } from "../../base/clock.ts";
import { errorMessage } from "../../base/operator_error.ts";
import type { Resource, XfrmPolicy } from "../../state/resource.ts";
import type { Step } from "../../state/step.ts";
import { describeStep, operationOf } from "../table/entry_operation.ts";
import type { KernelEvent, KernelListener } from "../table/kernel_event.ts";
import { type KernelTable, type KernelTableType, writeOnlyTable } from "../table/kernel_table.ts";
import type { StepResult } from "../table/step_result.ts";
import { resultOf } from "../table/step_result.ts";
import { Channel } from "../wire/channel.ts";
import { retryInterruptedDump } from "../wire/interrupted_dump.ts";
import { KernelError } from "../wire/kernel_error.ts";
import type { MessageReader } from "../wire/message_reader.ts";
import { NetlinkSocket } from "../wire/netlink_socket.ts";
import { Notifications } from "../wire/notifications.ts";
import { decodePolicy } from "./xfrm_decoder.ts";
import { XfrmEncoder } from "./xfrm_encoder.ts";

export const XFRM_POLICIES: KernelTableType = {
  kinds: ["xfrm-policy"],
  open: (clock) => {
    try {
      return new XfrmPolicies(clock, new NetlinkSocket(k.NETLINK_XFRM));
    } catch (error) {
      if (error instanceof KernelError && error.errno === "EPROTONOSUPPORT") return WITHOUT_IPSEC;
      throw error;
    }
  },
};

class XfrmPolicies implements KernelTable {
  readonly #clock: Clock;
  readonly #socket: NetlinkSocket;
  readonly #channel: Channel<XfrmEncoder>;

  constructor(clock: Clock, socket: NetlinkSocket) {
    this.#clock = clock;
    this.#socket = socket;
    this.#channel = new Channel(socket, new XfrmEncoder());
  }

  dump(): Promise<Resource[]> {
    return retryInterruptedDump(this.#clock, () => {
      const policies: Resource[] = [];
      const outcome = this.#channel.readTable((encoder) => encoder.dump(), (message) => {
        const policy = message.type === k.XFRM_MSG_NEWPOLICY ? decodePolicy(message) : undefined;
        if (policy !== undefined) policies.push(policy);
      });
      return outcome === "complete" ? { result: policies } : { interrupted: "xfrm policy" };
    });
  }

  async apply(steps: readonly Step[]): Promise<readonly StepResult[]> {
    const results = new Array<StepResult>(steps.length).fill(undefined);
    for (let from = 0; from < steps.length; from += STEPS_AT_A_TIME) {
      // Changes cause notifications, which must be read in between.
      if (from > 0) await this.#clock.yield();
      this.#applyRange(steps, from, Math.min(from + STEPS_AT_A_TIME, steps.length), results);
    }
    return results;
  }

  watch(listener: KernelListener): Disposable {
    const notifications: Notifications = new Notifications({
      clock: this.#clock,
      protocol: k.NETLINK_XFRM,
      groups: [k.XFRMNLGRP_POLICY],
      receiveBufferBytes: WATCH_BUFFER_BYTES,
      read: (messages) => {
        while (!notifications.isDisposed && messages.next()) {
          const event = decodeEvent(messages);
          if (event !== undefined) listener(event);
        }
      },
      lost: () => listener({ kind: "overrun" }),
    });
    notifications.start();
    return notifications;
  }

  [Symbol.dispose](): void {
    this.#channel.encoder[Symbol.dispose]();
    this.#socket[Symbol.dispose]();
  }

  #applyRange(steps: readonly Step[], from: number, to: number, results: StepResult[]): void {
    const { encoder } = this.#channel;
    encoder.clear();
    /** Positions of the steps whose messages are in the encoder. */
    const sent: number[] = [];
    for (let position = from; position < to; position++) {
      const step = steps[position] as Step;
      try {
        encoder.policy(operationOf(step), step.resource as XfrmPolicy);
        sent.push(position);
      } catch (cause) {
        results[position] = new KernelError({
          operation: describeStep(step),
          errno: "EINVAL",
          extack: errorMessage(cause),
          cause,
        });
      }
    }
    for (const [index, refusal] of this.#channel.send()) {
      const position = sent[index] as number;
      results[position] = resultOf(steps[position] as Step, refusal, ABSENT_ERRNOS);
    }
  }
}

/** The table of a kernel without IPsec. */
const WITHOUT_IPSEC = writeOnlyTable((step) =>
  new KernelError({ operation: describeStep(step), errno: "EPROTONOSUPPORT", extack: NO_IPSEC })
);

/** Errno names with which the kernel refuses to delete an absent policy. */
const ABSENT_ERRNOS: ReadonlySet<string> = new Set(["ENOENT"]);
/** A message has 252 bytes: this many fit into a batch. */
const STEPS_AT_A_TIME = 200;
/** Room for 8000 unread notifications of about 1 KiB. */
const WATCH_BUFFER_BYTES = 8 * 1024 * 1024;
const NO_IPSEC =
  "this kernel has no IPsec; load the module xfrm_user, or use a kernel with CONFIG_XFRM_USER";

function decodeEvent(message: MessageReader): KernelEvent | undefined {
  switch (message.type) {
    case k.XFRM_MSG_NEWPOLICY:
    case k.XFRM_MSG_UPDPOLICY:
    case k.XFRM_MSG_DELPOLICY: {
      const resource = decodePolicy(message);
      const deleted = message.type === k.XFRM_MSG_DELPOLICY;
      return resource && { kind: "changed", resource, deleted };
    }
    case k.XFRM_MSG_FLUSHPOLICY: // does not say which policies were deleted
      return { kind: "overrun" };
  }
  return undefined;
}
