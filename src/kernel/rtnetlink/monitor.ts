/** Notifications of rtnetlink (rtnetlink(7), RTNLGRP_*), decoded. */

import * as k from "../../../ffi/linux.ts";
import type { Clock } from "../../base/clock.ts";
import { decodeNexthop } from "../nexthop/nexthop_decoder.ts";
import { isOurNexthop } from "../nexthop/nexthops.ts";
import type { KernelEvent, KernelListener } from "../table/kernel_event.ts";
import type { MessageReader } from "../wire/message_reader.ts";
import { Notifications } from "../wire/notifications.ts";
import { codecOfMessage, ENTRY_CODECS } from "./entry_codecs.ts";
import { completeLink, decodeLink } from "./link_decoder.ts";

export interface MonitorOptions {
  readonly clock: Clock;
  /** Kernel-side buffer for notifications that have not been read yet. */
  readonly receiveBufferBytes: number;
  /** Reads the names of all devices; called after the subscription, so that no change is missed. */
  readonly linkNames: () => Map<number, string>;
  /** Port id of the socket over which this program makes its own changes. */
  readonly ownPortId: number;
  /** A device was added, changed, renamed or deleted, or may have been. */
  readonly onLinksChanged: () => void;
  readonly listener: KernelListener;
}

export class Monitor implements Disposable {
  readonly #options: MonitorOptions;
  readonly #notifications: Notifications;
  #names: Map<number, string>;

  /** Subscribes at once: everything that changes after the constructor returns is reported. */
  constructor(options: MonitorOptions) {
    this.#options = options;
    this.#notifications = new Notifications({
      clock: options.clock,
      protocol: k.NETLINK_ROUTE,
      groups: GROUPS,
      optionalGroups: [k.RTNLGRP_NEXTHOP],
      receiveBufferBytes: options.receiveBufferBytes,
      read: (messages) => this.#read(messages),
      lost: () => {
        options.onLinksChanged();
        this.#names = options.linkNames();
        options.listener({ kind: "overrun" });
      },
    });
    try {
      options.onLinksChanged(); // Perhaps: until now, nothing reported it.
      this.#names = options.linkNames();
    } catch (error) {
      this.#notifications[Symbol.dispose]();
      throw error;
    }
    this.#notifications.start();
  }

  /** Every notification up to now was read, so that `onLinksChanged` was called if necessary. */
  get isUpToDate(): boolean {
    return this.#notifications.isUpToDate;
  }

  [Symbol.dispose](): void {
    this.#notifications[Symbol.dispose]();
  }

  #read(messages: MessageReader): void {
    let hasLostRoutes = false;
    while (!this.#notifications.isDisposed && messages.next()) {
      hasLostRoutes ||= this.#deletesRoutes(messages);
      const event = this.#decode(messages);
      if (event !== undefined) this.#options.listener(event);
    }
    if (hasLostRoutes && !this.#notifications.isDisposed) {
      this.#options.listener({ kind: "overrun" });
    }
  }

  /**
   * Whether another program deleted one of our nexthop objects. The kernel deletes the routes
   * through it without notifications, and the object does not say which routes these were.
   */
  #deletesRoutes(message: MessageReader): boolean {
    if (message.type !== k.RTM_DELNEXTHOP || message.portId === this.#options.ownPortId) {
      return false;
    }
    const nexthop = decodeNexthop(message);
    return nexthop !== undefined && isOurNexthop(nexthop);
  }

  #decode(message: MessageReader): KernelEvent | undefined {
    const { type } = message;
    const codec = codecOfMessage(type);
    if (codec === undefined) {
      return type === k.RTM_NEWLINK || type === k.RTM_DELLINK
        ? this.#decodeLink(message)
        : undefined;
    }
    const resource = codec.decode(message, this.#names);
    const deleted = type === codec.deleteType || codec.isIgnored(message);
    return resource && { kind: "changed", resource, deleted };
  }

  #decodeLink(message: MessageReader): KernelEvent | undefined {
    this.#options.onLinksChanged();
    const decoded = decodeLink(message);
    if (decoded === undefined) return undefined;
    const { ifindex, link } = decoded;
    const before = this.#names.get(ifindex);
    const resource = completeLink(decoded, this.#names);
    // The entries of a deleted device come first: nothing after RTM_DELLINK needs its name.
    if (message.type === k.RTM_DELLINK) this.#names.delete(ifindex);
    else this.#names.set(ifindex, link.name);
    if (before !== undefined && before !== link.name) {
      // Renamed: to listeners, which know devices by name, one was deleted and another one added.
      this.#options.listener({
        kind: "changed",
        resource: { ...resource, name: before },
        deleted: true,
      });
    }
    return { kind: "changed", resource, deleted: message.type === k.RTM_DELLINK };
  }
}

const GROUPS = [k.RTNLGRP_LINK, ...ENTRY_CODECS.flatMap(({ groups }) => groups)];
