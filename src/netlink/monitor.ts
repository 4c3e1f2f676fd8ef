/**
 * Notifications of rtnetlink (rtnetlink(7), RTNLGRP_*) inside the event loop.
 *
 * The runtime reads a duplicate of the socket. When the kernel had to drop notifications it reports
 * ENOBUFS once; the runtime then closes its duplicate, and another is made of the socket that is
 * kept: what was lost is reported as an overrun, what comes after it is not.
 */

import { errno, libc } from "../../ffi/libc.ts";
import * as k from "../../ffi/linux.ts";
import { errnoName } from "./errno.ts";
import {
  decodeAddress,
  decodeLink,
  decodeNeighbour,
  decodeNexthop,
  decodeRoute,
  withUnderlay,
} from "./decoder.ts";
import { KernelError, type KernelEvent } from "./kernel.ts";
import { isOurNexthop } from "./nexthops.ts";
import { MessageReader } from "./reader.ts";
import { connectToKernel, openNetlinkSocket, setOption } from "./socket.ts";

export interface MonitorOptions {
  /** Kernel-side buffer for notifications that have not been read yet. */
  readonly receiveBufferBytes: number;
  /** Names of the devices there are, asked for when nothing that happens later can be missed. */
  readonly linkNames: () => Map<number, string>;
  /** Port id of the socket that this program's own changes are made with. */
  readonly ownPortId: number;
  readonly listener: (event: KernelEvent) => void;
}

export class Monitor implements Disposable {
  readonly #options: MonitorOptions;
  readonly #fd: number;
  #names: Map<number, string>;
  #connection: { terminate(): void } | undefined;
  #disposed = false;
  readonly #handlers: Bun.SocketHandler<undefined> = {
    data: (_socket, bytes) => this.#read(bytes),
    close: () => this.#lost(0),
    error: () => {}, // `close` follows
  };

  /** Subscribes at once: everything that changes after the constructor returns is reported. */
  constructor(options: MonitorOptions) {
    this.#options = options;
    this.#fd = openNetlinkSocket(k.NETLINK_ROUTE);
    try {
      connectToKernel(this.#fd);
      const bytes = options.receiveBufferBytes;
      // SO_RCVBUF stops at net.core.rmem_max; going beyond needs CAP_NET_ADMIN in the first
      // user namespace.
      if (!setOption(this.#fd, k.SOL_SOCKET, k.SO_RCVBUFFORCE, bytes)) {
        setOption(this.#fd, k.SOL_SOCKET, k.SO_RCVBUF, bytes);
      }
      for (const group of GROUPS) {
        if (!setOption(this.#fd, k.SOL_NETLINK, k.NETLINK_ADD_MEMBERSHIP, group)) {
          throw new KernelError(
            `subscribe to rtnetlink notifications of group ${group}`,
            errnoName(errno()),
          );
        }
      }
      // Refused by a kernel that has no nexthop objects.
      setOption(this.#fd, k.SOL_NETLINK, k.NETLINK_ADD_MEMBERSHIP, k.RTNLGRP_NEXTHOP);
      this.#names = options.linkNames();
    } catch (error) {
      libc().close(this.#fd);
      throw error;
    }
    void this.#connect();
  }

  [Symbol.dispose](): void {
    if (this.#disposed) return;
    this.#disposed = true;
    this.#connection?.terminate();
    libc().close(this.#fd);
  }

  async #connect(): Promise<void> {
    const fd = libc().fcntl(this.#fd, k.F_DUPFD_CLOEXEC, 0);
    try {
      if (fd < 0) throw new KernelError("duplicate the notification socket", errnoName(errno()));
      // The types know `fd` only of files.
      const options = { fd, socket: this.#handlers } as unknown as Bun.UnixSocketOptions<undefined>;
      const connection = await Bun.connect(options);
      if (this.#disposed) connection.terminate();
      else this.#connection = connection;
    } catch {
      // Out of descriptors or memory, for now.
      this.#lost(RETRY_MS);
    }
  }

  #lost(delayMs: number): void {
    this.#connection = undefined;
    if (this.#disposed) return;
    setTimeout(() => {
      if (this.#disposed) return;
      // The subscription goes on; only the names have to be read again.
      try {
        this.#names = this.#options.linkNames();
      } catch {
        return this.#lost(RETRY_MS);
      }
      this.#options.listener({ kind: "overrun" });
      void this.#connect();
    }, delayMs);
  }

  #read(bytes: Uint8Array): void {
    const message = new MessageReader(bytes);
    message.reset(bytes.length);
    let routesAreGone = false;
    while (!this.#disposed && message.next()) {
      routesAreGone ||= this.#takesRoutesAlong(message);
      const event = this.#decode(message);
      if (event !== undefined) this.#options.listener(event);
    }
    if (routesAreGone && !this.#disposed) this.#options.listener({ kind: "overrun" });
  }

  /**
   * Whether somebody deleted one of our nexthop objects. The kernel says nothing of the routes that
   * go with it, and which they were, the object does not tell.
   */
  #takesRoutesAlong(message: MessageReader): boolean {
    if (message.type !== k.RTM_DELNEXTHOP || message.portId === this.#options.ownPortId) {
      return false;
    }
    const nexthop = decodeNexthop(message);
    return nexthop !== undefined && isOurNexthop(nexthop);
  }

  #decode(message: MessageReader): KernelEvent | undefined {
    switch (message.type) {
      case k.RTM_NEWLINK:
      case k.RTM_DELLINK:
        return this.#decodeLink(message);
      case k.RTM_NEWADDR:
      case k.RTM_DELADDR:
        return changed(decodeAddress(message, this.#names), message.type === k.RTM_DELADDR);
      case k.RTM_NEWROUTE:
      case k.RTM_DELROUTE:
        return changed(decodeRoute(message, this.#names), message.type === k.RTM_DELROUTE);
      case k.RTM_NEWNEIGH:
      case k.RTM_DELNEIGH: {
        // An entry that is permanent no longer is, for this program, gone.
        const neighbour = decodeNeighbour(message, this.#names);
        const deleted = message.type === k.RTM_DELNEIGH || !neighbour?.permanent;
        return changed(neighbour?.resource, deleted);
      }
    }
    return undefined;
  }

  #decodeLink(message: MessageReader): KernelEvent | undefined {
    const decoded = decodeLink(message);
    if (decoded === undefined) return undefined;
    const { ifindex, link } = decoded;
    const before = this.#names.get(ifindex);
    const resource = withUnderlay(decoded, this.#names);
    // A deleted device's entries go first: nothing follows RTM_DELLINK that needs the name.
    if (message.type === k.RTM_DELLINK) this.#names.delete(ifindex);
    else this.#names.set(ifindex, link.name);
    if (before !== undefined && before !== link.name) {
      // Renamed: for those who know it by name, one device goes and another comes.
      this.#options.listener({
        kind: "changed",
        resource: { ...resource, name: before },
        deleted: true,
      });
    }
    return changed(resource, message.type === k.RTM_DELLINK);
  }
}

const GROUPS = [
  k.RTNLGRP_LINK,
  k.RTNLGRP_NEIGH,
  k.RTNLGRP_IPV4_IFADDR,
  k.RTNLGRP_IPV6_IFADDR,
  k.RTNLGRP_IPV4_ROUTE,
  k.RTNLGRP_IPV6_ROUTE,
];
const RETRY_MS = 100;

function changed(
  resource: (KernelEvent & { kind: "changed" })["resource"] | undefined,
  deleted: boolean,
): KernelEvent | undefined {
  return resource && { kind: "changed", resource, deleted };
}
