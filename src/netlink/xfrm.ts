/**
 * The policies of the kernel's IPsec database, over NETLINK_XFRM (linux/xfrm.h): which packets must
 * go through a tunnel. The security associations, the tunnels themselves, are charon's.
 */

import * as k from "../../ffi/linux.ts";
import type { Resource, XfrmPolicy } from "../state/resource.ts";
import type { Step } from "../state/step.ts";
import { errnoName } from "./errno.ts";
import { readTable, sendBatch } from "./exchange.ts";
import { readUndisturbed } from "./interrupted.ts";
import { KernelError, type KernelEvent, type StepResult } from "./kernel.ts";
import { Notifications } from "./notifications.ts";
import { describeStep, operationOf } from "./operation.ts";
import type { MessageReader } from "./reader.ts";
import type { SideTable, SideTableType } from "./side_table.ts";
import { NetlinkSocket, type Refusal } from "./socket.ts";
import { decodePolicy } from "./xfrm_decoder.ts";
import { XfrmEncoder } from "./xfrm_encoder.ts";

export const XFRM_POLICIES: SideTableType = {
  kinds: ["xfrm-policy"],
  takes: ({ resource }) => resource.kind === "xfrm-policy",
  open: () => new XfrmPolicies(),
};

class XfrmPolicies implements SideTable {
  readonly #encoder = new XfrmEncoder();
  /** Absent where the kernel has no IPsec. */
  readonly #socket: NetlinkSocket | undefined = openSocket();

  async dump(): Promise<Resource[]> {
    const socket = this.#socket;
    if (socket === undefined) return [];
    return await readUndisturbed(() => {
      const policies: Resource[] = [];
      const outcome = readTable(socket, this.#encoder, (encoder) => encoder.dump(), (message) => {
        const policy = message.type === k.XFRM_MSG_NEWPOLICY ? decodePolicy(message) : undefined;
        if (policy !== undefined) policies.push(policy);
      });
      return outcome === "complete" ? { result: policies } : { interrupted: "xfrm policy" };
    }, Bun.sleep);
  }

  async apply(steps: readonly Step[]): Promise<readonly StepResult[]> {
    const results = new Array<StepResult>(steps.length).fill(undefined);
    for (let from = 0; from < steps.length; from += STEPS_AT_A_TIME) {
      // The changes cause notifications, which have to be read meanwhile.
      if (from > 0) await Bun.sleep(0);
      this.#applyRange(steps, from, Math.min(from + STEPS_AT_A_TIME, steps.length), results);
    }
    return results;
  }

  watch(listener: (event: KernelEvent) => void): Disposable {
    if (this.#socket === undefined) return { [Symbol.dispose]: () => {} };
    const notifications: Notifications = new Notifications({
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
    this.#encoder[Symbol.dispose]();
    this.#socket?.[Symbol.dispose]();
  }

  #applyRange(steps: readonly Step[], from: number, to: number, results: StepResult[]): void {
    const socket = this.#socket;
    this.#encoder.clear();
    /** Positions of the steps whose messages are in the encoder. */
    const sent: number[] = [];
    for (let position = from; position < to; position++) {
      const step = steps[position] as Step;
      if (socket === undefined) {
        results[position] = new KernelError(describeStep(step), "EPROTONOSUPPORT", NO_IPSEC);
        continue;
      }
      try {
        this.#encoder.policy(operationOf(step), step.resource as XfrmPolicy);
        sent.push(position);
      } catch (cause) {
        const reason = (cause as Error).message;
        results[position] = new KernelError(describeStep(step), "EINVAL", reason, { cause });
      }
    }
    if (socket === undefined) return;
    for (const [index, refusal] of sendBatch(socket, this.#encoder)) {
      const position = sent[index] as number;
      results[position] = resultOf(steps[position] as Step, refusal);
    }
  }
}

/** One message is 252 bytes, so that this many fit one batch. */
const STEPS_AT_A_TIME = 200;
/** A notification takes about 1 KiB: room for 8000 that nobody has read yet. */
const WATCH_BUFFER_BYTES = 8 * 1024 * 1024;
const NO_IPSEC =
  "this kernel has no IPsec; load the module xfrm_user, or use a kernel with CONFIG_XFRM_USER";

function openSocket(): NetlinkSocket | undefined {
  try {
    return new NetlinkSocket(k.NETLINK_XFRM);
  } catch (error) {
    if (error instanceof KernelError && error.code === "EPROTONOSUPPORT") return undefined;
    throw error;
  }
}

function decodeEvent(message: MessageReader): KernelEvent | undefined {
  switch (message.type) {
    case k.XFRM_MSG_NEWPOLICY:
    case k.XFRM_MSG_UPDPOLICY:
    case k.XFRM_MSG_DELPOLICY: {
      const resource = decodePolicy(message);
      const deleted = message.type === k.XFRM_MSG_DELPOLICY;
      return resource && { kind: "changed", resource, deleted };
    }
    case k.XFRM_MSG_FLUSHPOLICY: // which ones there were, it does not say
      return { kind: "overrun" };
  }
  return undefined;
}

function resultOf(step: Step, refusal: Refusal): StepResult {
  const code = errnoName(refusal.errno);
  // It is not there: that is what was wanted.
  if (step.op === "delete" && code === "ENOENT") return undefined;
  return new KernelError(describeStep(step), code, refusal.extack);
}
